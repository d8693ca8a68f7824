"""Summaries of the shards of a dataset, which are attributes of its node and can be queried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.frames.theory import LevelOfTheory


def totals(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attributes that summarize all shards together.

    :param shards: summaries of the shards, in order.
    :raises ValueError: if labelled and unlabelled frames are mixed.
    """
    if len({shard['labelled'] for shard in shards}) > 1:
        raise ValueError('labelled and unlabelled frames cannot be in one dataset')
    labelled = shards[0]['labelled']
    generations: dict[str, int] = {}
    for shard in shards:
        for generation, count in shard['generations'].items():
            generations[generation] = generations.get(generation, 0) + count
    energies = [bound for shard in shards for bound in shard['energy_per_atom'] or ()]
    return {
        'labelled': labelled,
        'elements': sorted({element for shard in shards for element in shard['elements']}),
        'n_frames': sum(shard['n_frames'] for shard in shards),
        'n_atoms': sum(shard['n_atoms'] for shard in shards),
        'energy_per_atom': [min(energies), max(energies)] if labelled else None,
        'max_force': max(shard['max_force'] for shard in shards) if labelled else None,
        'generations': generations,
        **({'weighted': True} if any('weights' in shard for shard in shards) else {}),
    }


def levels_of(theories: Mapping[str, LevelOfTheory]) -> dict[str, Any]:
    """Return the attributes on levels of theory; none if no level is known.

    :param theories: level of theory of each source key of which it is known.
    """
    if not theories:
        return {}
    # Thousands of sources share a few objects.
    distinct = {id(theory): theory for theory in theories.values()}
    fingerprints = {identity: theory.fingerprint() for identity, theory in distinct.items()}
    records: dict[str, Any] = {}
    for identity, theory in distinct.items():
        records.setdefault(fingerprints[identity], theory.model_dump(mode='json', exclude_none=True))
    return {
        'levels': records,
        'level_of_source': {key: fingerprints[id(theory)] for key, theory in theories.items()},
    }


def summary_of(name: str, frames: Frames) -> dict[str, Any]:
    """Return the summary of a shard.

    :param name: of the shard.
    :param frames: its frames.
    :raises ValueError: if energies or forces are not finite.
    """
    generations, counts = np.unique(frames.generation, return_counts=True)
    summary: dict[str, Any] = {
        'name': name,
        'labelled': frames.labelled,
        'elements': list(frames.elements),
        'n_frames': len(frames),
        'n_atoms': int(frames.n_atoms.sum()),
        'energy_per_atom': None,
        'max_force': None,
        'generations': {str(generation): int(count) for generation, count in zip(generations, counts, strict=True)},
    }
    if frames.energy is not None and frames.forces is not None:
        per_atom: FloatArray = frames.energy / frames.n_atoms
        # By the largest component first: squares of huge numbers overflow where the numbers do not.
        scale = float(np.abs(frames.forces).max(initial=0.0)) or 1.0
        with np.errstate(over='ignore', invalid='ignore'):
            max_force = scale * float(np.linalg.norm(frames.forces / scale, axis=1).max(initial=0.0))
        bounds = [float(per_atom.min()), float(per_atom.max())]
        if not np.isfinite([*bounds, max_force]).all():
            raise ValueError(
                f'the energies per atom are {bounds[0]} to {bounds[1]} eV and the largest force is {max_force} '
                'eV/angstrom: finite numbers are needed. `merge_frames` says which frames have others, and leaves them '
                'out if it is allowed to'
            )
        summary['energy_per_atom'] = bounds
        if frames.w_energy is not None and frames.w_forces is not None:
            summary['weights'] = {'energy': float(frames.w_energy.sum()), 'forces': float(frames.w_forces.sum())}
        summary['max_force'] = max_force
    return summary
