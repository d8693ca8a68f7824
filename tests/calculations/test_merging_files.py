"""Merging files: what they are, under which names they have their labels, and which of them are not converged."""

import gzip
import io
import lzma
from pathlib import Path

import ase
import numpy as np
import pytest
from aiida import orm

from aiida_pacemaker.calculations.functions.merging import merge_frames
from aiida_pacemaker.errors import RefusedError

pytestmark = pytest.mark.usefixtures('aiida_profile')

PICKLE = Path(__file__).parent.parent / 'fixtures' / 'pickles' / 'pandas-2.2.2-protocol-4.pckl.gzip'
DATA = Path(ase.__file__).parent / 'test' / 'testdata'
FRAME = (
    '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-7.0 '
    'dft_virial="0.64 0 0 0 0.64 0 0 0 0.64" pbc="T T T"\nCu 0 0 0 0.1 0 0\nCu 2 2 {} -0.1 0 0\n'
)
NAMES = {'energy': 'REF_energy', 'forces': 'REF_forces', 'virial': 'dft_virial'}


def file(content, name):
    return orm.SinglefileData(io.BytesIO(content if isinstance(content, bytes) else content.encode()), filename=name)


@pytest.mark.parametrize('name', ['a.pckl.gzip', 'a.pkl.gzip', 'a.pickle', 'A.PCKL.GZ', 'data'])
def test_pickles_are_known_whatever_their_names_say(name):
    compressed = PICKLE.read_bytes()
    plain = gzip.decompress(compressed)
    for content in (compressed, plain, lzma.compress(plain)):
        dataset, _ = merge_frames(file(content, name), require_stress=False)
        assert dataset.n_frames > 0


def test_labels_are_read_under_the_names_that_are_said():
    first, second = file(FRAME.format(0), 'a.extxyz'), file(FRAME.format(0.1).replace('REF_', 'my_'), 'b.extxyz')
    with pytest.raises(RefusedError, match='found REF_forces, REF_energy, dft_virial; say which are the labels'):
        merge_frames(first)
    dataset, report = merge_frames(first, keys=NAMES)
    (image,) = dataset.to_ase()
    assert image.calc.results['energy'] == -7.0
    assert image.calc.results['stress'][:3] == pytest.approx([-0.01] * 3)
    assert report['warnings'] == []
    other = {'energy': 'my_energy', 'forces': 'my_forces', 'virial': 'dft_virial'}
    both, _ = merge_frames(first, second, keys={'source_0000': NAMES, 'source_0001': other})
    assert both.n_frames == 2
    with pytest.raises(RefusedError, match='`keys` speaks of source_0007, but the sources are source_0000'):
        merge_frames(first, keys={'source_0007': NAMES})
    # Candidates need no labels, so nothing has to be said of them.
    assert merge_frames(first, labelled=False)[0].n_frames == 1


def test_a_virial_is_not_dropped_without_a_word():
    del (names := dict(NAMES))['virial']
    _, report = merge_frames(file(FRAME.format(0), 'a.extxyz'), keys=names, require_stress=False)
    (warning,) = report['warnings']
    assert warning.startswith('source_0000: 1 frame(s) have no stress, but dft_virial, which is not read')


def test_formats_are_said_by_source_by_name_or_for_all():
    content = '# not known by its content\n' + FRAME.format(0)
    strange = file(FRAME.format(0).replace('2\n', ' 2 \n', 1), 'strange.result')
    for formats in ('extxyz', {'source_0000': 'extxyz'}, {'strange.result': 'extxyz'}):
        assert merge_frames(strange, keys=NAMES, formats=formats)[0].n_frames == 1
    with pytest.raises(RefusedError, match=r"neither its name nor its content tells it.*formats=\{'b.out': "):
        merge_frames(file(content, 'b.out'))
    with pytest.raises(RefusedError, match=r'`formats` speaks of c\.out'):
        merge_frames(strange, formats={'c.out': 'extxyz'})


def test_the_energy_of_files_is_that_of_the_forces():
    dataset, report = merge_frames(file((DATA / 'vasp/vasprun_pstress.xml').read_bytes(), 'vasprun.xml'))
    assert dataset.get_energies().tolist() == [-20.246959373169393]
    assert 'is the free energy' in report['warnings'][0]


def test_calculations_that_did_not_converge_are_refused():
    outcar = file((DATA / 'vasp/OUTCAR_example_1').read_bytes().replace(b'EDIFF is reached', b'.'), 'OUTCAR')
    with pytest.raises(RefusedError, match='VASP did not converge'):
        merge_frames(outcar)
    dataset, report = merge_frames(outcar, allow_unconverged=True)
    assert dataset.n_frames == 1
    assert '1 frame(s) whose calculation did not converge are accepted' in report['warnings'][-1]


def test_names_of_labels_are_not_for_the_arrays_of_trajectories():
    node = orm.TrajectoryData()
    node.set_trajectory(symbols=['Cu'], positions=np.zeros((1, 1, 3)), cells=np.eye(3)[None] * 4, pbc=[True] * 3)
    node.set_array('energy', np.array([-6.5]))
    node.set_array('REF_energy', np.array([-7.0]))
    node.set_array('forces', np.zeros((1, 1, 3)))
    with pytest.raises(RefusedError, match='make a trajectory that has it as `energy`'):
        merge_frames(node, keys={'energy': 'REF_energy'}, require_stress=False)
