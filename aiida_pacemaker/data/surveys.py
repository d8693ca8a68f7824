"""Surveys of datasets: of each shard once, for nothing in a shard ever changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from aiida_pacemaker.baseline.distances import Distances, join_distances, shortest_distances
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import element_counts, fit_energies
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.near_duplicates import Fingerprints, fingerprints
from aiida_pacemaker.frames.table import FloatArray
from aiida_pacemaker.pace.cost.survey import Survey, corrected_energies, join, survey
from aiida_pacemaker.pace.unseen import Surroundings, all_surroundings

#: Shards whose numbers are remembered: those of some ten million frames.
REMEMBERED = 4096
#: Shards whose fingerprints are remembered: those of ten million frames, which take 700 MB.
FINGERPRINTS = 1024


@dataclass(frozen=True)
class Shard:
    """A shard, which is known by its name whatever dataset it is in."""

    name: str
    dataset: PaceDatasetData = field(compare=False)


def survey_of(dataset: PaceDatasetData, cutoff: float) -> Survey:
    """Return the numbers of a dataset for a cutoff in angstrom."""
    return join(_survey(Shard(shard['name'], dataset), cutoff) for shard in dataset.shards)


def shortest_of(dataset: PaceDatasetData, within: float) -> dict[tuple[str, str], float]:
    """Return the shortest distance in angstrom of each pair of elements that comes closer than a limit."""
    return join_distances(_shortest(Shard(shard['name'], dataset), within) for shard in dataset.shards)


def baseline_energies_of(dataset: PaceDatasetData, baseline: DeltaBaseline) -> FloatArray:
    """Return the energies of the subtracted terms of a baseline in eV/atom, in the order of the frames."""
    parameters = json.dumps(baseline.model_dump(mode='json'), sort_keys=True)
    return np.concatenate([_of_baseline(Shard(shard['name'], dataset), parameters) for shard in dataset.shards])


def label_spread_of(dataset: PaceDatasetData) -> float:
    """Return what the energies of a labelled dataset span in eV/atom, whatever its compositions are.

    One energy for each element, by least squares, is subtracted first.
    """
    parts = [_labels(Shard(shard['name'], dataset)) for shard in dataset.shards]
    fitted = fit_energies(parts)
    rest = [
        (energy - counts @ np.array([fitted[element] for element in elements])) / counts.sum(axis=1)
        for elements, counts, energy in parts
        if len(energy)
    ]
    return float(np.ptp(np.concatenate(rest))) if rest else 0.0


def surroundings_of(dataset: PaceDatasetData, cutoffs: Mapping[tuple[str, str], float]) -> frozenset[Surroundings]:
    """Return what the atoms of a dataset are surrounded by: see `all_surroundings`.

    :param cutoffs: how far an atom sees its neighbours in angstrom, keyed by the symbols of the two.
    """
    key = tuple(sorted(cutoffs.items()))
    return frozenset().union(*(_surroundings(Shard(shard['name'], dataset), key) for shard in dataset.shards))


def fingerprints_of(dataset: PaceDatasetData) -> Fingerprints:
    """Return the fingerprints of all frames of a dataset, by which near duplicates are found."""
    return Fingerprints.concatenate([_fingerprints(Shard(shard['name'], dataset)) for shard in dataset.shards])


def corrected_energies_of(
    dataset: PaceDatasetData, baseline: DeltaBaseline, energies: Mapping[str, float]
) -> FloatArray:
    """Return the energies that the engine is to fit in eV/atom, in the order of the frames."""
    parameters = json.dumps([baseline.model_dump(mode='json'), dict(energies)], sort_keys=True)
    return np.concatenate([_corrected(Shard(shard['name'], dataset), parameters) for shard in dataset.shards])


def lowest_energy_of(dataset: PaceDatasetData, baseline: DeltaBaseline, energies: Mapping[str, float]) -> float:
    """Return the lowest of :func:`corrected_energies_of`, which weights of a linear fit are relative to."""
    return float(corrected_energies_of(dataset, baseline, energies).min())


@lru_cache(maxsize=REMEMBERED)
def _survey(shard: Shard, cutoff: float) -> Survey:
    return survey(shard.dataset.get_shard(shard.name), cutoff)


@lru_cache(maxsize=REMEMBERED)
def _shortest(shard: Shard, within: float) -> Distances:
    return shortest_distances(shard.dataset.get_shard(shard.name), within)


@lru_cache(maxsize=REMEMBERED)
def _of_baseline(shard: Shard, parameters: str) -> FloatArray:
    frames = shard.dataset.get_shard(shard.name)
    energies: FloatArray = evaluate(DeltaBaseline.model_validate_json(parameters), frames).energy / frames.n_atoms
    return energies


def _labels(shard: Shard) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
    frames = shard.dataset.get_shard(shard.name)
    if frames.energy is None:
        raise ValueError(f'{shard.dataset} has no labels')
    return (*element_counts(frames), frames.energy)


@lru_cache(maxsize=REMEMBERED)
def _surroundings(shard: Shard, cutoffs: tuple[tuple[tuple[str, str], float], ...]) -> frozenset[Surroundings]:
    return all_surroundings(shard.dataset.get_shard(shard.name), dict(cutoffs))


@lru_cache(maxsize=FINGERPRINTS)
def _fingerprints(shard: Shard) -> Fingerprints:
    return fingerprints(shard.dataset.get_shard(shard.name))


@lru_cache(maxsize=REMEMBERED)
def _corrected(shard: Shard, parameters: str) -> FloatArray:
    baseline, energies = json.loads(parameters)
    return corrected_energies(shard.dataset.get_shard(shard.name), DeltaBaseline.model_validate(baseline), energies)
