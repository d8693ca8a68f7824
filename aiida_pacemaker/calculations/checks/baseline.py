"""Checks of a baseline against a dataset: whether it overlaps the data, and is far larger than the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_pacemaker.baseline.model import DeltaBaseline, LJPair, ZBLPair
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.surveys import baseline_energies_of, label_spread_of, shortest_of

#: A baseline may have this many eV/atom, and this many times what the labels span: what is left of them is a difference
#: of numbers that large, and the fit sees nothing else.
LARGEST_ENERGY, LARGEST_RATIO = 10.0, 10.0


def check_size(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong if the energies of the baseline are far larger than the spread of the labels."""
    dataset: PaceDatasetData = inputs['dataset']
    baseline = DeltaBaseline.model_validate(inputs['baseline'].get_dict())
    if not dataset.labelled or not baseline.subtracted():
        return None
    try:
        energies = np.abs(baseline_energies_of(dataset, baseline))
    except ValueError as exception:
        return f'the baseline cannot be subtracted: {exception}'
    largest, spread = float(energies.max(initial=0.0)), label_spread_of(dataset)
    if largest <= LARGEST_ENERGY + LARGEST_RATIO * spread:
        return None
    return (
        f'the baseline has up to {largest:.4g} eV/atom (frame {int(energies.argmax())}) and the labels span '
        f'{spread:.4g} eV/atom: they would be lost in the difference. Use a baseline that acts below the shortest '
        'distances of the data, as `default_baseline` gives it, and LJ parameters that belong to these elements.'
    )


def warnings_about_reach(baseline: DeltaBaseline, dataset: PaceDatasetData) -> list[str]:
    """Return a warning for each place where a baseline repels atoms at distances that occur in the data.

    The fit then has to compensate for what was subtracted, which costs accuracy: on 100 frames of MgO, ZBL to 2.2
    angstrom makes the errors of the forces 603 instead of 57 meV/angstrom (`benchmarks/baseline.py`). Of an LJ
    potential only the repulsive part counts.
    """
    ends: dict[tuple[str, str], float] = {}
    for term in baseline.subtracted():
        for pair in term.pairs_of(dataset.elements):
            end = pair.outer if isinstance(pair, ZBLPair) else _end_of_repulsion(pair)
            ends[pair.elements] = max(end, ends.get(pair.elements, 0.0))
    ends = {pair: end for pair, end in ends.items() if end > 0}
    if not ends:
        return []
    shortest = shortest_of(dataset, max(ends.values()))
    touched = [
        f'{"-".join(pair)} (up to {end:.4g} Å, and the data begin at {shortest[pair]:.4g} Å)'
        for pair, end in sorted(ends.items())
        if shortest.get(pair, end) < end
    ]
    if not touched:
        return []
    consequence = (
        'ACE is switched off there, so that these labels cannot be fitted'
        if baseline.mode == 'both'
        else 'the fit has to give back what was subtracted, which costs accuracy'
    )
    return [
        f'the baseline reaches into the data for {", ".join(touched)}: {consequence}. A new fit with cutoffs below '
        'these distances, as of `default_baseline`, is better; within a loop the baseline stays what it was.'
    ]


def _end_of_repulsion(pair: LJPair) -> float:
    """Return the distance in angstrom below which LJ repels beyond its zero; zero where it is switched off there."""
    return pair.sigma if pair.off is None or pair.off < pair.sigma else 0.0
