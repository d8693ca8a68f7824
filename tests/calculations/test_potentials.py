"""Potentials from elsewhere as nodes, and what is written of a potential read back."""

import re
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.training import check_training
from aiida_pacemaker.calculations.functions.potentials import (
    add_densities,
    draw_potential,
    import_potential_file,
)
from aiida_pacemaker.cli import main
from aiida_pacemaker.data.arrays import array_data
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.pace.output.potentials import read_coefficients

LINEAR = Path(__file__).parents[1] / 'fixtures' / 'fit_linear' / 'default'
DEFAULT = Path(__file__).parents[1] / 'fixtures' / 'train' / 'default'
PLAIN = DEFAULT / 'output_potential.yaml'
NONE = DeltaBaseline(mode='none')


@pytest.mark.fault(
    'a potential that was fitted elsewhere is to be used',
    engine='nothing compares the energies of isolated atoms, or asks for a baseline',
    here='`import_potential` reads what its file says (reference energies, core) and refuses what contradicts it; '
    'without a word on the baseline it is refused',
    ends='refused',
)
def test_a_potential_from_elsewhere(aiida_profile):
    with pytest.raises(RefusedError, match=r'Mg: the file says -27.44149761 eV and -3.7 eV is given'):
        import_potential_file(PLAIN, reference_energies={'Mg': -3.7}, baseline=NONE)
    with pytest.raises(RefusedError, match='does not say whether a baseline'):
        import_potential_file(PLAIN)
    potential = import_potential_file(PLAIN, c_tilde=DEFAULT / 'output_potential.yace', baseline=NONE)
    assert potential.baseline == NONE
    assert potential.reference_energies['Mg'] == pytest.approx(-27.441497613508435, rel=1e-12)
    assert potential.has_c_tilde
    assert potential.creator.process_label == 'import_potential'
    assert potential.creator.inputs.file.filename == PLAIN.name


def test_energies_that_are_not_those_of_the_fit_are_refused_by_the_node_too(aiida_profile):
    with pytest.raises(ValueError, match='the reference energies are not those of the fit'):
        PacePotentialData(PLAIN.read_bytes(), baseline=NONE, reference_energies={'Mg': -27.0, 'O': -426.11747912713})


def test_what_was_written_is_read_back(aiida_profile, recorded_potential, tmp_path):
    with pytest.warns(UserWarning, match='mgo.yace and mgo.in.lammps are not written'):
        recorded_potential.write_files(tmp_path, stem='mgo')
    again = import_potential_file(tmp_path / 'mgo.yaml')
    assert again.base.caching.compute_hash() == recorded_potential.base.caching.compute_hash()
    # What is said by hand is held against the file all the same.
    with pytest.raises(RefusedError, match='is given'):
        import_potential_file(tmp_path / 'mgo.yaml', reference_energies={'Mg': 0.0})


def test_training_goes_on_from_it_without_a_baseline(train_inputs, pace_codes_fake, aiida_profile):
    potential = import_potential_file(PLAIN, baseline=NONE)
    inputs = train_inputs(
        potential=potential, baseline=NONE.model_dump(mode='json'), reference_energies=potential.reference_energies
    )
    nodes = {name: orm.Dict(value) if isinstance(value, dict) else value for name, value in inputs.items()}
    assert check_training({'code': pace_codes_fake['train'], **nodes}) is None


EMBEDDING = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1.0, 1.0, 1.0, 0.5], 'ndensity': 2}


def test_further_densities_are_those_of_the_same_potential(aiida_profile):
    linear = import_potential_file(PLAIN, c_tilde=DEFAULT / 'output_potential.yace', baseline=NONE)
    found = add_densities(linear, orm.Dict(EMBEDDING))
    assert found.creator.inputs.potential.uuid == linear.uuid
    assert found.baseline == linear.baseline
    assert found.reference_energies == linear.reference_energies
    assert found.n_functions_per_element == linear.n_functions_per_element
    assert not found.has_c_tilde
    assert read_coefficients(found.get_b_basis())[::2] == read_coefficients(linear.get_b_basis())


@pytest.mark.parametrize(
    ('given', 'reason'),
    [
        ({'npot': 'FinnisSinclair'}, r'`embedding`: npot: found FinnisSinclair, needed'),
        ({'ndensity': 3}, r'found ndensity 3 and 4 fs_parameters, needed: two for each density'),
        ({'rho_core_cut': 5.0}, 'rho_core_cut stay those of the potential; leave them out'),
        ({'fs_parameter': [1, 1]}, 'did you mean'),
    ],
)
def test_embeddings_that_are_refused(aiida_profile, given, reason):
    linear = import_potential_file(PLAIN, baseline=NONE)
    _, node = add_densities.run_get_node(linear, orm.Dict(EMBEDDING | given))
    assert node.exit_status == 410
    assert re.search(reason, node.exit_message), node.exit_message


def test_potentials_that_are_not_linear_get_no_densities(aiida_profile):
    twice = add_densities(import_potential_file(PLAIN, baseline=NONE), orm.Dict(EMBEDDING))
    _, node = add_densities.run_get_node(twice, orm.Dict(EMBEDDING))
    assert node.exit_status == 410
    assert node.exit_message.startswith('the potential: it is not linear in one density (Mg has 2 densities; O has 2')


@pytest.fixture
def posterior(aiida_profile):
    """Return the posterior of the recorded fit."""
    with np.load(LINEAR / 'posterior.npz', allow_pickle=False) as content:
        return array_data({name: content[name] for name in content.files}).store()


def test_draws_of_a_fit(posterior):
    linear = import_potential_file(
        LINEAR / 'output_potential.yaml', baseline=NONE, reference_energies={'Mg': -27.4, 'O': -426.1}
    )
    first, second = (draw_potential(linear, posterior, orm.Int(seed)) for seed in (1, 2))
    assert first.creator.inputs.posterior.uuid == posterior.uuid
    assert (first.baseline, first.reference_energies) == (linear.baseline, linear.reference_energies)
    assert not first.has_c_tilde
    found = [np.array(read_coefficients(one.get_b_basis())) for one in (linear, first, second)]
    assert (found[0] != found[1]).any()
    assert (found[1] != found[2]).any()


def test_draws_that_are_refused(posterior):
    other = import_potential_file(PLAIN, baseline=NONE)
    _, node = draw_potential.run_get_node(other, posterior, orm.Int(1))
    assert node.exit_status == 410
    assert node.exit_message == 'the potential: the posterior is not that of the potential: their coefficients differ'
    arrays = {name: posterior.get_array(name) for name in posterior.get_arraynames()}
    uncalibrated = array_data({**arrays, 'calibration': np.full((2, 2), np.nan)})
    _, node = draw_potential.run_get_node(other, uncalibrated, orm.Int(1))
    assert node.exit_status == 410
    assert 'the error bars of the fit are not calibrated' in node.exit_message


def test_the_command(aiida_profile):
    said = CliRunner().invoke(main, ['import', 'potential', str(PLAIN), '--no-baseline'])
    assert said.exit_code == 0, said.output
    assert 'Mg-O, 24 functions, cutoff 4.5 Å' in said.output
    assert 'baseline: mode none' in said.output
    for options, message in [
        ([], 'does not say whether a baseline'),
        (['--no-baseline', '--reference-energy', 'Mg'], "found 'Mg', needed: ELEMENT=EV"),
        (['--no-baseline', '--reference-energy', 'Mg=-3.7'], '-3.7 eV is given'),
        (['--no-baseline', '--baseline', str(PLAIN)], 'either --no-baseline or --baseline'),
        (['--baseline', str(PLAIN)], 'Expecting value'),
    ]:
        said = CliRunner().invoke(main, ['import', 'potential', str(PLAIN), *options])
        assert said.exit_code
        assert message in said.output
