"""Surveys of datasets: of each shard once, for nothing in a shard ever changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.engine.survey import Survey, corrected_energies, join, survey
from aiida_pacemaker.frames.table import FloatArray

#: Shards whose numbers are remembered: those of some ten million frames.
REMEMBERED = 4096


@dataclass(frozen=True)
class _Shard:
    """A shard, which is known by its name whatever dataset it is in."""

    name: str
    dataset: PaceDatasetData = field(compare=False)


def survey_of(dataset: PaceDatasetData, cutoff: float) -> Survey:
    """Return the numbers of a dataset for a cutoff in angstrom."""
    return join(_survey(_Shard(shard['name'], dataset), cutoff) for shard in dataset.shards)


def corrected_energies_of(
    dataset: PaceDatasetData, baseline: DeltaBaseline, energies: Mapping[str, float]
) -> FloatArray:
    """Return the energies that the engine is to fit in eV/atom, in the order of the frames."""
    parameters = json.dumps([baseline.model_dump(mode='json'), dict(energies)], sort_keys=True)
    return np.concatenate([_corrected(_Shard(shard['name'], dataset), parameters) for shard in dataset.shards])


@lru_cache(maxsize=REMEMBERED)
def _survey(shard: _Shard, cutoff: float) -> Survey:
    return survey(shard.dataset.get_shard(shard.name), cutoff)


@lru_cache(maxsize=REMEMBERED)
def _corrected(shard: _Shard, parameters: str) -> FloatArray:
    baseline, energies = json.loads(parameters)
    return corrected_energies(shard.dataset.get_shard(shard.name), DeltaBaseline.model_validate(baseline), energies)
