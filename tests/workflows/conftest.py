"""Inputs of the workflows: a small dataset of MgO, its pool and its test set."""

from __future__ import annotations

import pytest
from aiida import orm
from small_fits import SMALL

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData


@pytest.fixture
def subset(mgo_images, mgo_frames):
    """Return a function that returns the frames whose label has one of the given beginnings, as a stored dataset."""

    def select(*beginnings: str, labelled: bool = True, every: int = 1) -> PaceDatasetData:
        rows = [row for row, image in enumerate(mgo_images) if image.info['label'].startswith(beginnings)][::every]
        frames = mgo_frames.select(rows)
        return PaceDatasetData(frames if labelled else frames.without_labels()).store()

    return select


@pytest.fixture
def narrow(subset):
    """Return 12 frames with small displacements."""
    return subset('rocksalt8-rattle0.04')


@pytest.fixture
def pool(subset):
    """Return 14 frames with larger displacements."""
    return subset('rocksalt8-rattle0.16', 'rocksalt8-rattle0.25', every=3)


@pytest.fixture
def frozen_test(subset):
    """Return 8 frames that are in none of the other sets."""
    return subset('rocksalt8-rattle0.09', every=2)


@pytest.fixture
def training_inputs(narrow, reference_energies):
    """Return the inputs of a small fit, all but its code."""
    return {
        'dataset': narrow,
        'config': orm.Dict(SMALL),
        'baseline': orm.Dict(DeltaBaseline.for_elements(['Mg', 'O']).model_dump(mode='json')),
        'reference_energies': orm.Dict(reference_energies),
        'max_epochs': orm.Int(6),
    }
