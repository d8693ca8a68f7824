"""Potentials to start from: one or several, which may describe fewer elements than the data have."""

import numpy as np
import pytest
import yaml
from aiida import orm
from ase.build import bulk
from ase.calculators.emt import EMT
from small_fits import COARSE

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.checks.training import check_training
from aiida_pacemaker.calculations.functions.potentials import add_densities
from aiida_pacemaker.calculations.train import initial_content, input_of
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.data.surveys import shortest_of
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.pace.config.short_range import zbl_cores
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.potentials import strip_fit_cycles
from aiida_pacemaker.testing.fake import basis

SHORT = {'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 2, 'max_order': 2, 'max_epochs': 2, 'potential': COARSE}
BASELINE = DeltaBaseline.for_elements(['Ag', 'Cu'])
REFERENCES = {'Ag': 0.5, 'Cu': 0.25}


def alloy(symbols, seed, rattle=0.1):
    """Return a cell of four atoms with its labels by EMT."""
    atoms = bulk('Cu', cubic=True, a=3.8)
    atoms.symbols[:] = symbols
    atoms.rattle(rattle, seed=seed)
    atoms.calc = EMT()
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    return atoms


@pytest.fixture
def dataset(aiida_profile):
    """Return frames of copper, silver and their alloys."""
    images = [alloy(['Cu'] * (4 - silver) + ['Ag'] * silver, 10 * silver + i) for silver in range(5) for i in range(2)]
    return PaceDatasetData(from_atoms(images, 'alloys')).store()


@pytest.fixture
def potential(aiida_profile):
    """Return a function that makes a potential of some elements, whose coefficients are numbered."""

    def make(*elements, **changes):
        made = basis.build(parse_config({'elements': list(elements), **SHORT}).sections()['potential'])
        for number, function in enumerate(made.functions(), start=1):
            function['c'] = [0.01 * number]
        inputs = {'baseline': BASELINE, 'reference_energies': REFERENCES, **changes}
        return PacePotentialData(made.dump().encode(), **inputs).store()

    return make


@pytest.fixture
def complaint(dataset):
    """Return a function that says what is wrong with the inputs of a training."""

    def said(**inputs):
        plain = {
            'config': {'elements': ['Ag', 'Cu'], **SHORT},
            'baseline': BASELINE.model_dump(mode='json'),
            'reference_energies': REFERENCES,
        }
        return check_training(
            {'dataset': dataset, **{name: orm.Dict(value) for name, value in plain.items()}, **inputs}
        )

    return said


def test_a_potential_can_be_extended_to_more_elements(complaint, potential):
    said = complaint(potential=potential('Cu'))
    assert 'describes Cu and the dataset has Ag, Cu: set `potential_mode` to `extend`' in said
    assert complaint(potential=potential('Cu'), potential_mode=orm.Str('extend')) is None


@pytest.mark.fault(
    'several potentials to start from that describe the same element',
    engine='takes the blocks of that element twice, and fits what comes of it',
    here='refused; so are reference energies or a baseline that are not those of each of them',
    ends='refused',
)
def test_several_potentials_are_of_different_elements_and_one_reference(complaint, potential):
    copper, silver = potential('Cu'), potential('Ag')
    assert complaint(initial_potentials={'copper': copper, 'silver': silver}) is None
    said = complaint(initial_potentials={'copper': copper, 'alloy': potential('Ag', 'Cu')})
    assert 'several of `initial_potentials` describe Cu' in said
    said = complaint(initial_potentials={'copper': copper, 'silver': silver}, potential=copper)
    assert 'give all of them as `initial_potentials`' in said
    said = complaint(initial_potentials={'copper': copper, 'silver': silver}, potential_mode=orm.Str('continue'))
    assert 'can only be extended' in said
    other = potential('Ag', reference_energies={'Ag': -3.0})
    said = complaint(initial_potentials={'copper': copper, 'silver': other})
    assert '(`initial_potentials.silver`) was fitted with the reference energies' in said
    other = potential('Ag', baseline=DeltaBaseline.for_elements(['Ag'], lj=True))
    assert '(`initial_potentials.silver`) was fitted on another baseline' in complaint(
        initial_potentials={'silver': other}
    )


TWO = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1.0, 1.0, 1.0, 0.5], 'ndensity': 2}


@pytest.mark.fault(
    'a config of two densities beside a potential of one to start from',
    engine='keeps the embedding of the potential without a word, continued or extended',
    here='refused; `add_densities` makes a potential that is accepted',
    ends='refused',
)
@pytest.mark.parametrize('mode', ['continue', 'extend'])
def test_the_embedding_of_the_config_is_that_of_the_potential(complaint, potential, mode):
    config = orm.Dict({'elements': ['Ag', 'Cu'], **SHORT, 'potential': {'embeddings': {'ALL': TWO}}})
    one, given = potential('Ag', 'Cu'), {'potential_mode': orm.Str(mode)}
    said = complaint(potential=one, config=config, **given)
    assert 'FinnisSinclairShiftedScaled [1.0, 1.0, 1.0, 0.5] (2 densities) of Ag' in said
    assert '(1 density), which the engine keeps without a word' in said
    two = add_densities(one, orm.Dict(TWO))
    assert complaint(potential=two, config=config, **given) is None
    # A config that does not ask for an embedding takes that of the potential.
    assert complaint(potential=two, **given) is None
    linear = {**TWO, 'ndensity': 1, 'fs_parameters': [1.0, 1.0]}
    config = orm.Dict({'elements': ['Ag', 'Cu'], **SHORT, 'potential': {'embeddings': {'ALL': linear}}})
    assert complaint(potential=one, config=config, **given) is None
    assert 'asks for the embedding' in complaint(potential=two, config=config, **given)


def cored(content, part, nearest):
    """Return a potential with ZBL cores that end at a part of the shortest distances."""
    made = basis.parse(content.decode())
    for block in made.blocks:
        if len(block.species) <= 2:
            pair = tuple(sorted((block.species[0], block.species[-1])))
            block.settings |= {'inner_cutoff_type': 'zbl', 'r_in': part * nearest[pair], 'delta_in': 0.1}
    return made.dump().encode()


@pytest.mark.fault(
    'a potential with a ZBL core below the data is continued',
    engine='with repulsion auto, sets a core that ends at the shortest distances themselves',
    here='the core stays as it is if it ends at 0.95 of the shortest distances at most',
    ends='success',
)
@pytest.mark.parametrize(
    ('part', 'repulsion', 'mode', 'kept'),
    [
        (0.9, None, 'continue', True),
        (0.96, None, 'continue', False),
        (0.9, 'auto', 'continue', False),
        (0.9, None, 'extend', False),
    ],
)
def test_a_core_below_the_data_is_kept(dataset, potential, part, repulsion, mode, kept):
    core = DeltaBaseline.for_elements(['Ag', 'Cu'], mode='core')
    content = cored(potential('Ag', 'Cu').get_b_basis(), part, shortest_of(dataset, 5.0))
    config = {'elements': ['Ag', 'Cu'], **SHORT, **({'fit': {'repulsion': repulsion}} if repulsion else {})}
    inputs = {
        'dataset': dataset,
        'config': orm.Dict(config),
        'baseline': orm.Dict(core.model_dump(mode='json')),
        'reference_energies': orm.Dict(REFERENCES),
        'potential': PacePotentialData(content, baseline=core, reference_energies=REFERENCES),
        'potential_mode': orm.Str(mode),
    }
    assert check_training(inputs) is None
    asked = yaml.safe_load(input_of(inputs, ['train.pckl.gzip'], []))['fit'].get('repulsion')
    cores = zbl_cores(initial_content(inputs['potential'], inputs))
    assert (asked, cores) == ((None, zbl_cores(content)) if kept else ('auto', {}))


@pytest.mark.engine
def test_the_engine_keeps_what_two_potentials_have_and_fits_what_joins_them(run_job, pace_codes, dataset, potential):
    initial = {'copper': potential('Cu'), 'silver': potential('Ag')}
    node = run_job(
        'pacemaker.train',
        code=pace_codes['train'],
        dataset=dataset,
        config={'elements': ['Ag', 'Cu'], **SHORT, 'fit': {'trainable_parameters': 'BINARY'}},
        baseline=BASELINE.model_dump(mode='json'),
        reference_energies=REFERENCES,
        initial_potentials=initial,
    )
    assert node.is_finished_ok, node.exit_message
    files = node.base.repository.get_object_content('input.yaml')
    assert yaml.safe_load(files)['potential']['initial_potential'] == [
        'initial_potential_copper.yaml',
        'initial_potential_silver.yaml',
    ]
    fitted = {block.species: block for block in basis.parse(node.outputs.potential.get_b_basis().decode()).blocks}
    for made in initial.values():
        (before,) = basis.parse(strip_fit_cycles(made.get_b_basis().decode())).blocks
        after = {basis.key_of(function): function['c'] for function in fitted[before.species].functions}
        kept = {basis.key_of(function): function['c'] for function in before.functions}
        assert after == kept
    joining = [c for species in (('Ag', 'Cu'), ('Cu', 'Ag')) for f in fitted[species].functions for c in f['c']]
    assert np.abs(joining).max() > 0
