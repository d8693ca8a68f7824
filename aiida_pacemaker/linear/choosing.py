"""The choice of a basis by cross-validation: radial functions, cutoff and degree.

Bases that differ in their degree alone share their equations: the functions of a lower degree are some of those of a
higher one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .basis import Basis, configuration_of, in_degree
from .equations import Equations, FrameRows
from .evidence import solve_evidence
from .groups import Prior, groups_of
from .rows import Label, RowMaker
from .validation import cross_validate
from .weighting import Weighting

#: Scores so close to the best one that the smaller basis is taken: a part of it.
EQUAL = 0.02


@dataclass(frozen=True)
class Candidate:
    """A basis that could be taken.

    :param potential: section `potential` of the engine's input, of the largest degree.
    :param degrees: the total degrees that are tried.
    :param pair_functions: largest n of functions of order 1, at least; of a higher degree as many as that.
    """

    potential: Mapping[str, Any]
    degrees: Sequence[int]
    pair_functions: int

    def first(self, degree: int) -> int:
        """Return the largest n of functions of order 1 beside a degree."""
        return max(self.pair_functions, degree)


@dataclass(frozen=True)
class Tried:
    """How good a basis is.

    :param candidate: position of the candidate.
    :param degree: total degree.
    :param n_functions: of all elements.
    :param rmse_energy: of frames that were left out, eV/atom.
    :param rmse_forces: of frames that were left out, eV/angstrom.
    :param score: error of a typical frame that was left out, see `HeldOut.typical`, eV/angstrom.
    """

    candidate: int
    degree: int
    n_functions: int
    rmse_energy: float
    rmse_forces: float
    score: float


def try_bases(
    candidates: Sequence[Candidate],
    structures: Sequence[tuple[Any, Label]],
    weighting: Weighting,
    prior: Prior,
    *,
    virial: bool,
) -> list[Tried]:
    """Return how good bases are, by cross-validation over structures.

    :param structures: with right-handed cells, and what they are fitted to.
    :param weighting: of the equations.
    :param virial: whether stresses are fitted.
    """
    tried = []
    for index, candidate in enumerate(candidates):
        largest = max(candidate.degrees)
        whole = Basis.of_configuration(configuration_of(candidate.potential, largest, candidate.first(largest)))
        maker = RowMaker(whole, weighting, virial=virial)
        frames = [maker.equations_of(atoms, label) for atoms, label in structures]
        for degree in candidate.degrees:
            columns = [
                place
                for place, (ns, ls) in enumerate(zip(whole.radial, whole.angular))
                if in_degree(list(ns), list(ls), degree, candidate.first(degree))
            ]
            groups = groups_of(
                [whole.radial[place] for place in columns], [whole.angular[place] for place in columns], prior
            )
            equations = Equations(len(columns))
            equations.add(_part_of(frames, columns))
            tried.append(_tried(index, degree, equations, groups, weighting))
    return tried


def best_of(tried: Iterable[Tried]) -> Tried:
    """Return the smallest basis of those that are about as good as the best one."""
    finite = [one for one in tried if np.isfinite(one.score)]
    if not finite:
        raise ValueError('no basis could be tried: at least two structures are needed to choose by cross-validation')
    lowest = min(one.score for one in finite)
    return min(
        (one for one in finite if one.score <= (1 + EQUAL) * lowest), key=lambda one: (one.n_functions, one.score)
    )


def _part_of(frames: Iterable[FrameRows], columns: Sequence[int]) -> Iterable[FrameRows]:
    """Return the equations of some of the functions; the right-hand side is the last column."""
    places = [*columns, -1]
    for frame in frames:
        yield replace(frame, rows={kind: rows[:, places] for kind, rows in frame.rows.items()})


def _tried(index: int, degree: int, equations: Equations, groups: Any, weighting: Weighting) -> Tried:
    scales = weighting.scales(equations.weights, equations.counts)
    n_rows = equations.n_used(scales)
    solution = solve_evidence(equations.factor(scales), n_rows, groups)
    held_out = cross_validate(equations, scales, groups, solution)
    if held_out is None:
        return Tried(index, degree, equations.n_columns, np.nan, np.nan, np.nan)
    return Tried(
        index,
        degree,
        equations.n_columns,
        held_out.rmse('energy'),
        held_out.rmse('forces'),
        held_out.typical(scales),
    )
