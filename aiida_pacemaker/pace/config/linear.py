"""What an exact linear fit is asked to do, by a configuration and the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.expansion import OPEN_DEGREE, TRIED_CUTOFFS, TRIED_RADIAL, bond_of
from aiida_pacemaker.pace.config.linear_section import EQUAL
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig, parse_config
from aiida_pacemaker.pace.cost.basis_size import count_functions
from aiida_pacemaker.pace.cost.total_degree import count_by_degree, degree_for

#: Defaults of the engine for energy-based weights: offsets DE and DF, the energy in eV/atom from which on frames are
#: left out (DEup), and the zero of energy.
OFFSETS, UPPER, ZERO = (1.0, 1.0), 10.0, 'convex_hull'


@dataclass(frozen=True)
class LinearFit:
    """What the driver of linear fits takes.

    :param potential: section ``potential`` of the engine's input.
    :param degree: largest total degree of functions of order 2 and more; None to take all functions of the section.
    :param first: largest n of functions of order 1 where there is a degree.
    :param weighting: what counts how much, as plain data.
    :param prior: which functions share a prior variance, or `pacemaker`.
    :param penalty: that of Pacemaker on the squares of the coefficients; with its prior only.
    :param virial: whether stresses are fitted.
    :param repulsion: where the functions end, as a part of the shortest distances; None: nowhere.
    :param n_workers: number of processes; None for as many as the job has cores.
    :param candidates: bases to choose from by cross-validation, each with the keys `potential`, `degrees` and
        `pair_functions`; none where the basis is given.
    """

    potential: dict[str, Any]
    degree: int | None
    first: int | None
    weighting: dict[str, Any]
    prior: str
    penalty: float
    virial: bool
    repulsion: float | None
    n_workers: int | None
    candidates: list[dict[str, Any]] = field(default_factory=list)


def for_data(config: TrainerConfig, atoms: Mapping[str, int]) -> TrainerConfig:
    """Return a configuration whose degree is given: the largest that the data can bear, where it is not said.

    :param config: of any fit; others than linear ones with an open degree are returned as they are.
    :param atoms: number of atoms of each element of the data.
    """
    if not config.degree_is_open:
        return config
    section = config.linear_section
    degree, first = degree_for(
        {element: atoms.get(element, 0) for element in config.elements},
        config.order,
        first=section['pair_functions'],
        largest=OPEN_DEGREE,
        per_atom=section['functions_per_atom'],
    )
    plain = config.to_dict()
    return parse_config(
        {**plain, 'max_deg': degree, 'linear': {**plain.get('linear', {}), 'pair_functions': min(first, 40)}}
    )


def linear_fit_of(config: TrainerConfig, atoms: Mapping[str, int] | None = None) -> LinearFit:
    """Return what the driver of linear fits takes.

    :param config: of a linear fit.
    :param atoms: number of atoms of each element of the data, for a configuration without a degree.
    :raises ConfigError: if the fit is not linear, or if it has no degree and the atoms are not given.
    """
    if config.used_evaluator != 'linear':
        raise ConfigError(f'the evaluator is {config.used_evaluator}, not linear')
    if config.degree_is_open and atoms is None:
        raise ConfigError('max_deg: missing; needed: a degree, or the number of atoms of each element in the data')
    known = for_data(config, atoms or {})
    sections, section = known.sections(), known.linear_section
    by_degree = known.max_deg is not None
    return LinearFit(
        potential=sections['potential'],
        degree=known.max_deg,
        first=known.pair_functions if by_degree else None,
        weighting=_weighting(known),
        prior=section['prior'],
        penalty=float(sections['fit']['loss'].get('L2_coeffs', 0.0)) if section['prior'] == 'pacemaker' else 0.0,
        virial=section['prior'] != 'pacemaker' and section['virial_ratio'] > 0,
        repulsion=section['repulsion'] or None,
        n_workers=sections['backend'].get('n_workers'),
        candidates=list(_candidates(config, known)) if section['basis'] == 'auto' else [],
    )


def functions_of(config: TrainerConfig, atoms: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return how many functions there are around an atom of each element.

    :param config: of any fit.
    :param atoms: number of atoms of each element of the data, for a linear fit whose degree follows from them; without
        them it has the largest degree that it can have.
    """
    known = for_data(config, atoms) if atoms is not None else config
    if known.used_evaluator != 'linear' or known.degree is None:
        return count_functions(known.sections()['potential'])
    count = count_by_degree(len(known.elements), known.degree, known.order, known.pair_functions)
    return dict.fromkeys(sorted(known.elements), count)


def _candidates(config: TrainerConfig, known: TrainerConfig) -> Iterator[dict[str, Any]]:
    """Iterate over the bases that are tried: what the configuration leaves open is varied.

    :param config: as it was given.
    :param known: the same, with the largest degree that the data can bear.
    """
    plain = known.to_dict()
    bonds = plain.get('potential', {}).get('bonds')
    largest = known.max_deg or known.order
    degrees = [largest] if config.max_deg is not None else list(range(known.order, largest + 1))
    cutoffs = TRIED_CUTOFFS if config.r_cut is None else (config.r_cut,)
    variants = [None] if bonds else [bond_of(cutoff, name) for name in TRIED_RADIAL for cutoff in cutoffs]
    for bond in variants:
        varied = known
        if bond is not None:
            potential = {**plain.get('potential', {}), 'bonds': {'ALL': bond}}
            varied = parse_config({**plain, 'r_cut': bond['rcut'], 'potential': potential})
        yield {
            'potential': varied.sections()['potential'],
            'degrees': degrees,
            'pair_functions': known.linear_section['pair_functions'],
        }


def follows_lowest_energy(config: TrainerConfig) -> bool:
    """Return whether the weights of a linear fit are relative to the lowest energy of its dataset."""
    weighting = _weighting(config)
    return weighting['kind'] == 'physical' and weighting['scale'] is not None and weighting['reference'] is None


def _weighting(config: TrainerConfig) -> dict[str, Any]:
    section = config.linear_section
    if section['prior'] != 'pacemaker':
        scale = section['energy_scale']
        return {
            'kind': 'physical',
            'ratio': float(section['energy_ratio']),
            'scale': None if scale == EQUAL else float(scale),
            'reference': section.get('energy_reference'),
            'virial': float(section['virial_ratio']),
        }
    fit = config.sections()['fit']
    weighting = fit.get('weighting') or {}
    plain = {
        'kind': 'pacemaker',
        'kappa': float(fit['loss']['kappa']),
        'offsets': None,
        'reference': section.get('energy_reference'),
    }
    if weighting.get('type') != 'EnergyBasedWeightingPolicy':
        return plain
    return plain | {
        'offsets': [float(weighting.get(name, default)) for name, default in zip(('DE', 'DF'), OFFSETS, strict=True)],
        'upper': float(weighting.get('DEup', UPPER)),
        'energy': weighting.get('energy', ZERO),
    }
