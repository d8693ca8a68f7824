"""What happens where atoms collide: by the baseline, by the engine, never by both."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aiida_pacemaker.baseline.model import DeltaBaseline, ZBLBaseline, ZBLPair
from aiida_pacemaker.errors import ConfigError, PotentialFileError
from aiida_pacemaker.pace.config.rendering import InitialPotential, render_input
from aiida_pacemaker.pace.config.short_range import initial_potential, zbl_cores
from aiida_pacemaker.pace.config.trainer_config import parse_config
from aiida_pacemaker.pace.output.potentials import blocks_of_pairs

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'train'
CORE = (TRAIN / 'repulsion' / 'output_potential.yaml').read_text()
PLAIN = (TRAIN / 'default' / 'output_potential.yaml').read_text()
ELEMENTS = ['Mg', 'O']
BOND = {'radbase': 'SBessel', 'radparameters': [5.25], 'rcut': 5.0, 'dcut': 0.01}


def render(mode, initial=None, **sections):
    config = parse_config({'elements': ELEMENTS, 'evaluator': 'pyace', 'max_deg': 4, 'r_cut': 5.0, **sections})
    baseline = mode if isinstance(mode, DeltaBaseline) else DeltaBaseline.for_elements(ELEMENTS, mode=mode)
    text = render_input(
        config,
        data_files=['a.gzip'],
        reference_energy={'Mg': 0.0, 'O': 0.0},
        baseline=baseline,
        initial=None if initial is None else InitialPotential('i.yaml', initial),
    )
    return YAML(typ='safe', pure=True).load(text)


@pytest.mark.fault(
    'ZBL by the engine and by the baseline',
    engine='adds its own (`repulsion: auto`, inner cutoffs `zbl`) whatever was subtracted: 2929 eV for 1476',
    here='refused, with the mode of the baseline to give instead; also for potentials that are imported or continued',
    ends='`ValueError`',
)
@pytest.mark.parametrize('mode', ['delta', 'both'])
@pytest.mark.parametrize(
    ('sections', 'what'),
    [
        ({'fit': {'repulsion': 'auto'}}, 'fit.repulsion: found auto'),
        (
            {'r_cut': None, 'potential': {'bonds': {'ALL': BOND | {'inner_cutoff_type': 'zbl', 'r_in': 1.2}}}},
            'potential.bonds.ALL: found inner_cutoff_type zbl',
        ),
    ],
)
def test_zbl_comes_once(mode, sections, what):
    with pytest.raises(ConfigError, match=rf"{what}.*mode {mode}.*twice.*mode='core'"):
        render(mode, **sections)


def test_the_core_of_the_engine_is_asked_for_once():
    plain = render('core')
    assert plain['fit']['repulsion'] == 'auto'
    assert render('core', fit={'repulsion': 'auto'}) == plain


def test_ace_fades_out_where_zbl_of_the_pair_fades_in():
    bonds = render('both')['potential']['bonds']
    assert {key: bond.get('r_in') for key, bond in bonds.items()} == {
        'ALL': None,
        'Mg': 1.974,
        'MgO': 1.449,
        'O': 0.924,
    }
    assert bonds['O']['delta_in'] == pytest.approx(0.462)
    # What is given for a pair stays, under the key that it was given with.
    own = {'r_cut': None, 'potential': {'bonds': {'ALL': BOND, 'OMg': {'rcut': 4.5}}}}
    bonds = render('both', **own)['potential']['bonds']
    assert (bonds['OMg']['rcut'], bonds['OMg']['r_in']) == (4.5, 1.449)
    assert 'MgO' not in bonds


@pytest.mark.fault(
    'a baseline that leaves nothing to ACE',
    engine='fits a potential that is zero everywhere, exit 0',
    here='refused pair by pair, with the inner and the outer cutoff',
    ends='`ValueError`',
)
def test_something_is_left_to_ace():
    far = DeltaBaseline(mode='both', zbl=ZBLBaseline(inner=4, outer=6))
    with pytest.raises(ConfigError, match=r'switches ACE off for Mg-Mg up to outer = 6 Å, but ACE ends at 5 Å'):
        render(far)
    one = ZBLBaseline(inner=0.5, outer=1, pairs=(ZBLPair(elements=('O', 'O'), inner=2, outer=3),))
    short = {'r_cut': None, 'potential': {'bonds': {'ALL': BOND, 'O': {'rcut': 3.0}}}}
    with pytest.raises(ConfigError, match='for O-O up to outer = 3 Å, but ACE ends at 3 Å'):
        render(DeltaBaseline(mode='both', zbl=one), **short)
    assert render(DeltaBaseline(mode='both', zbl=one))['potential']['bonds']['O']['r_in'] == 3


@pytest.mark.fault(
    'a core that was set by the last fit is too wide for the next data',
    engine='keeps the inner cutoffs of the potential that it continues and has no ACE below: 9.5 eV/atom for 0.013',
    here='they are taken back to those of a new potential, and set anew from the data at the end of each fit',
    ends='success',
)
def test_a_core_is_taken_back_where_the_engine_sets_it_anew():
    core = DeltaBaseline.for_elements(ELEMENTS, mode='core')
    assert zbl_cores(CORE.encode())
    begun = initial_potential(CORE, core, 'auto')
    assert not zbl_cores(begun.encode())
    plain = blocks_of_pairs(PLAIN)
    for pair, block in blocks_of_pairs(begun).items():
        short_range = {key: block.get(key) for key in ('r_in', 'delta_in', 'inner_cutoff_type', 'core-repulsion')}
        assert short_range == {key: plain[pair].get(key) for key in short_range}
    # Nothing else changes, and nothing at all where there is nothing to take back.
    changed = [one for one, other in zip(CORE.splitlines(), begun.splitlines(), strict=True) if one != other]
    keys = {line.split(':')[0].strip() for line in changed}
    assert keys <= {'r_in', 'delta_in', 'inner_cutoff_type', 'core-repulsion', 'rho_core_cut', 'drho_core_cut'}
    assert blocks_of_pairs(initial_potential(PLAIN, core, 'auto')) == plain
    assert initial_potential(CORE, core, None) == CORE


@pytest.mark.engine
def test_the_engine_takes_the_inner_cutoff_of_each_pair():
    from pyace import create_multispecies_basis_config

    potential = render('both')['potential']
    blocks = create_multispecies_basis_config(potential).funcspecs_blocks
    found = {block.block_name: (block.r_in, block.inner_cutoff_type) for block in blocks if block.number_of_species < 3}
    assert found == {
        'Mg': (1.974, 'distance'),
        'O': (0.924, 'distance'),
        'Mg O': (1.449, 'distance'),
        'O Mg': (1.449, 'distance'),
    }


def test_inner_cutoffs_of_a_baseline_are_those_of_the_file():
    both = DeltaBaseline.for_elements(ELEMENTS, mode='both')
    blocks = blocks_of_pairs(initial_potential(PLAIN, both, None))
    assert {pair: float(block['r_in']) for pair, block in blocks.items()} == {
        ('Mg', 'Mg'): 1.974,
        ('Mg', 'O'): 1.449,
        ('O', 'Mg'): 1.449,
        ('O', 'O'): 0.924,
    }


def test_a_file_in_another_form_is_refused_rather_than_taken_as_it_is():
    flow = '{species: [{speciesblock: Cu, r_in: 2.0, inner_cutoff_type: zbl}]}'
    with pytest.raises(PotentialFileError, match='`r_in` of Cu-Cu cannot be set to 0'):
        initial_potential(flow, DeltaBaseline.for_elements(['Cu'], mode='core'), 'auto')
