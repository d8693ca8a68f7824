"""Baseline and reference energies that a dataset suggests."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from ase import Atoms

from aiida_pacemaker.baseline.evaluation import evaluate, subtract
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import reference_energy
from aiida_pacemaker.calculations.functions.references import default_baseline, fit_reference_energies
from aiida_pacemaker.data import dataset as dataset_module
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms

pytestmark = pytest.mark.usefixtures('aiida_profile')


def test_reference_energies_are_recovered(mgo_images):
    """From frames of many compositions, whose energies are those of isolated atoms above the baseline."""
    known = {'Mg': -27.4, 'O': -426.1}
    images = [image.copy() for image in mgo_images if len(image) == 8][:12]
    for index, image in enumerate(images):
        del image[: index % 5]
        image.info = {'energy': 0.0, 'stress': np.zeros((3, 3))}
        image.arrays['forces'] = np.zeros((len(image), 3))
    frames = from_atoms(images, 'images')
    baseline = DeltaBaseline.for_elements(['Mg', 'O'])
    # The baseline is subtracted from the labels, so its own energy has to be on top.
    energy = reference_energy(frames, known) - subtract(baseline, frames).energy
    dataset = PaceDatasetData(frames.with_labels(energy, frames.forces, frames.stress))
    fitted = fit_reference_energies(dataset, orm.Dict(baseline.model_dump(mode='json')))
    assert fitted.get_dict() == pytest.approx(known, abs=1e-6)


def test_reference_energies_of_one_stoichiometry(mgo_frames, monkeypatch):
    """The elements cannot be told apart, but the totals are right on average, of all shards."""
    monkeypatch.setattr(dataset_module, 'SHARD_BYTES', 8192)
    dataset = PaceDatasetData(mgo_frames)
    assert len(dataset.shards) > 1
    baseline = DeltaBaseline.for_elements(['Mg', 'O'])
    fitted = fit_reference_energies(dataset, orm.Dict(baseline.model_dump(mode='json'))).get_dict()
    left = subtract(baseline, mgo_frames).energy - reference_energy(mgo_frames, fitted)
    assert np.abs((left * mgo_frames.n_atoms).sum()) < 1e-5
    assert np.abs(left / mgo_frames.n_atoms).max() < 5.0


def test_reference_energies_need_labels(mgo_frames):
    node = fit_reference_energies.run_get_node(
        PaceDatasetData(mgo_frames.without_labels()),
        orm.Dict(DeltaBaseline.for_elements(['Mg', 'O']).model_dump(mode='json')),
    )[1]
    assert node.exit_status == 410
    assert 'no labels' in node.exit_message


@pytest.mark.parametrize('lj', [False, True])
def test_default_baseline(mgo_frames, lj):
    node = default_baseline(PaceDatasetData(mgo_frames), orm.Bool(lj))
    baseline = DeltaBaseline.model_validate(node.get_dict())
    # The shortest distances of these data are 2.00, 1.22 and 1.81 angstrom.
    assert {pair.elements: pair.outer for pair in baseline.zbl.pairs} == {
        ('Mg', 'Mg'): 1.796,
        ('Mg', 'O'): 1.097,
        ('O', 'O'): 0.924,
    }
    assert not evaluate(baseline.model_copy(update={'lj': None}), mgo_frames).energy.any()
    assert baseline.lj == DeltaBaseline.for_elements(['Mg', 'O'], lj=lj).lj


def test_structures_that_may_be_labelled_later_count(mgo_frames):
    few = mgo_frames.select([0])
    alone, with_pool = (
        default_baseline(PaceDatasetData(few), orm.Bool(False), **pool).get_dict()['zbl']['pairs'][1]['outer']
        for pool in ({}, {'pool': PaceDatasetData(mgo_frames)})
    )
    assert (alone, with_pool) == (1.449, 1.097)


def test_no_default_baseline_without_radii_or_distances():
    for atoms, message in ((Atoms('Bk'), 'covalent radius of Bk'), (Atoms('O2'), 'take out frames')):
        _, node = default_baseline.run_get_node(PaceDatasetData(from_atoms([atoms], 'a')), orm.Bool(False))
        assert node.exit_status
        assert message in node.exit_message
