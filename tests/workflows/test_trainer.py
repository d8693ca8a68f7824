"""The facade for scripts."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from small_fits import SMALL

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.potentials import import_potential_file
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import TrainerError
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.trainer import PacemakerTrainer


@pytest.fixture
def trainer(pace_codes_fake, reference_energies):
    """Return a trainer with the fake engine."""
    config = {**SMALL, 'max_epochs': 5, 'active_set_size': 3}
    codes = {
        'pacemaker': pace_codes_fake['train'],
        'pace_activeset': pace_codes_fake['activeset'],
        'pace_select': pace_codes_fake['select'],
    }
    return PacemakerTrainer(parse_config(config), codes, reference_energies=reference_energies)


def test_train_and_select(trainer, narrow, pool):
    potential, metrics = trainer.train(narrow)
    assert isinstance(potential, PacePotentialData)
    assert metrics['iterations'] == 5
    assert potential.baseline == DeltaBaseline.for_elements(['Mg', 'O'])

    selected = trainer.select_active_set([narrow, pool], potential)
    assert 0 < selected.n_frames <= 3
    assert np.isin(selected.get_hashes(), np.concatenate([narrow.get_hashes(), pool.get_hashes()])).all()


def test_the_active_set_of_a_training_that_has_been_cleaned(trainer, narrow):
    potential, _ = trainer.train(narrow)
    left = trainer.active_set(potential)
    potential.creator.outputs.remote_folder._clean()
    again = trainer.active_set(potential)
    assert left.creator.inputs.parent_folder.is_cleaned
    assert again.creator.inputs.dataset.uuid == narrow.uuid
    assert again.elements == left.elements


def test_a_continued_potential_keeps_its_references(trainer, narrow):
    first, before = trainer.train(narrow)
    second, after = trainer.train(narrow, first)
    assert second.creator.inputs.potential.uuid == first.uuid
    assert second.reference_energies == first.reference_energies
    assert after['loss'] < before['loss']


def test_reference_energies_are_fitted_by_default(pace_codes_fake, trainer, narrow):
    """They bring the energies to where the engine wants them, and have an origin."""
    without = PacemakerTrainer(trainer.config, trainer.codes)
    potential, _ = without.train(narrow)
    energies = potential.creator.inputs.reference_energies
    assert energies.creator.process_label == 'fit_reference_energies'
    per_atom = np.mean(list(energies.get_dict().values()))
    assert per_atom == pytest.approx(np.mean(narrow.energy_per_atom), abs=1.0)


def test_failure_is_raised_with_its_reason(trainer, narrow):
    broken = PacemakerTrainer(
        trainer.config,
        trainer.codes,
        reference_energies=trainer.reference_energies,
        options={'environment_variables': {'PACE_FAKE_FAULT': 'disk_full'}},
    )
    with pytest.raises(TrainerError, match='no space'):
        broken.train(narrow)


def test_an_imported_potential_is_compared_with_the_dataset_that_is_given(trainer, narrow, pool, tmp_path):
    """The creator of an import is no training: its data are asked for, and taken."""
    potential, _ = trainer.train(narrow)
    with pytest.warns(UserWarning, match='yace'):
        potential.write_files(tmp_path)
    (path,) = (path for path in tmp_path.glob('*.yaml') if 'asi' not in path.name)
    imported = import_potential_file(path)
    constructed = PacePotentialData(
        potential.get_b_basis(), baseline=potential.baseline, reference_energies=potential.reference_energies
    ).store()
    for unknown in (imported, constructed):
        with pytest.raises(TrainerError, match=r'not trained in this profile.*dataset=dataset'):
            trainer.select_active_set([pool], unknown)
    assert trainer.select_active_set([pool], imported, dataset=narrow).n_frames > 0


def test_submission_returns_at_once(trainer, narrow, monkeypatch):
    submitted = {}
    monkeypatch.setattr('aiida_pacemaker.trainer.submit', lambda process, **inputs: submitted.update(inputs))
    trainer.submit_train(narrow)
    assert isinstance(submitted['pace']['config'], orm.Dict)


def test_a_config_and_codes_as_people_write_them(pace_codes_fake, reference_energies, narrow):
    labels = {'pacemaker': pace_codes_fake['train'].full_label, 'pace_select': pace_codes_fake['select'].pk}
    trainer = PacemakerTrainer({**SMALL, 'max_epochs': 5}, labels, reference_energies=reference_energies)
    assert trainer.config == parse_config({**SMALL, 'max_epochs': 5})
    assert trainer.codes['pacemaker'].uuid == pace_codes_fake['train'].uuid
    assert trainer.codes['pace_select'].uuid == pace_codes_fake['select'].uuid
    with pytest.raises(ValueError, match=r"no code 'pacemaker@localhots'(.|\n)*aiida-pacemaker setup"):
        PacemakerTrainer(SMALL, {'pacemaker': 'pacemaker@localhots'})
    with pytest.raises(ValueError, match='rcut: unknown key'):
        PacemakerTrainer({**SMALL, 'rcut': 4.5}, labels)
    with pytest.raises(TrainerError, match='has no code `pacemaker`: `codes` has pace_select'):
        PacemakerTrainer(SMALL, {'pace_select': labels['pace_select']}).train(narrow)
