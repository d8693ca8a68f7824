"""Files that ASE reads: formats, compression, what is lost or not converged in them, and what they may cost."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io.formats import ioformats

from aiida_pacemaker.errors import UnreadableFileError
from aiida_pacemaker.frames.ase_io import FORMATS, from_atoms, read, read_all
from aiida_pacemaker.frames.ase_io.apart import FileReader
from aiida_pacemaker.frames.ase_io.claims import checked
from aiida_pacemaker.frames.ase_io.compression import is_pickle
from aiida_pacemaker.frames.ase_io.convergence import unconverged
from aiida_pacemaker.frames.ase_io.formats import format_of
from aiida_pacemaker.frames.label_keys import LabelKeys

DATA = Path(ase.__file__).parent / 'test' / 'testdata'
ATOMS = 'Cu 0 0 0 0.1 0 0\nCu 1.8 {} 0 -0.1 0 0\n'
HEAD = 'Lattice="3.6 0 0 0 3.6 0 0 0 3.6" Properties=species:S:1:pos:R:3:forces:R:3 energy=-7.0 pbc="T T T"'
FRAMES = [f'2\n{HEAD}\n{ATOMS.format(y)}' for y in (1.7, 1.8, 1.9)]
DUMP = (
    'ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{}\nITEM: BOX BOUNDS pp pp pp\n0 4\n0 4\n0 4\n'
    'ITEM: ATOMS id {} x y z\n1 Cu 0 0 0\n2 Cu 2 2 0\n'
)


def reading(text, name, **options):
    content = text if isinstance(text, bytes) else text.encode()
    return read_all(io.BytesIO(content), source_key='key', name=name, **options)


@pytest.mark.fault(
    'a blank line between the structures of an extended XYZ file',
    engine='is given what ASE reads: nothing of what stands behind it',
    here='all structures are read; anything else behind a structure is refused with the number of its line',
    ends='none is made',
)
@pytest.mark.parametrize('between', ['', '\n', '\n\n  \n', '\r\n'])
def test_no_structure_is_lost_behind_a_blank_line(between):
    frames = reading(between.join(FRAMES), 'a.extxyz').frames
    assert len(frames) == 3
    assert frames.positions[1::2, 1].tolist() == [1.7, 1.8, 1.9]


def test_what_is_no_structure_is_named_by_its_line():
    with pytest.raises(UnreadableFileError, match="line 6 is 'Cu 0 0 0', a number of atoms is needed"):
        reading(FRAMES[0] + '\nCu 0 0 0\n', 'a.extxyz')
    # A comment may be empty.
    assert len(reading('1\n\nH 0 0 0\n\n1\n\nH 0 0 1\n', 'a.xyz').frames) == 2


def lines_of(n_frames):
    return ''.join(DUMP.format(2, 'element') for _ in range(n_frames))


@pytest.mark.parametrize(
    ('path', 'name', 'n_frames', 'energy'),
    [
        ('vasp/OUTCAR_example_1', 'OUTCAR', 1, -68.22868532),
        ('vasp/OUTCAR_example_1', 'relaxation.out', 1, -68.22868532),
        ('vasp/vasprun_pstress.xml', 'vasprun.xml', 1, -20.246959373169393),
        ('vasp/vasprun_pstress.xml', 'step_1.xml', 1, -20.246959373169393),
        ('gpaw_expected_text_output', 'gpaw.txt', 1, -6.70731),
        ('gpaw_expected_text_output', 'gpaw.out', 1, -6.70731),
        ('gpaw_expected_text_output', 'calculation', 1, -6.70731),
        ('aims/relax.out', 'aims.out', 8, -15747.6651322907),
        ('castep/md.castep', 'md.castep', 3, -1351.30020607),
        ('qbox_test.xml', 'qbox.xml', 5, -15.37294515),
    ],
)
def test_outputs_are_known_by_their_content(path, name, n_frames, energy):
    found = reading((DATA / path).read_bytes(), name)
    assert len(found.frames) == n_frames
    assert found.frames.energy[0] == pytest.approx(energy, abs=1e-7)
    assert found.unconverged == {}


@pytest.mark.parametrize(
    ('name', 'content', 'file_format'),
    [
        ('traj.dump', lines_of(1), 'lammps-dump-text'),
        ('structures', FRAMES[0], 'extxyz'),
        ('start', 'Cu\n1.0\n4 0 0\n0 4 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n', 'vasp'),
        ('CONTCAR', 'Cu\n1.0\n4 0 0\n0 4 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n', 'vasp'),
        ('geometry.in', '# of aims\nlattice_vector 4 0 0\natom 0 0 0 Cu\n', 'aims'),
        ('pw.in', '&control\n/\n&system\n/\n', 'espresso-in'),
        ('pw.log', '\n     Program PWSCF v.7.2 starts\n', 'espresso-out'),
        ('OUTCAR.gz', '', 'vasp-out'),
        ('TRAIN.XYZ', 'whatever', 'extxyz'),
    ],
)
def test_formats(name, content, file_format):
    assert format_of(name.removesuffix('.gz'), content.encode()) == file_format


def test_a_format_can_be_said():
    assert format_of('x.out', b'', 'gpaw-out') == 'gpaw-out'
    with pytest.raises(
        UnreadableFileError, match=r'`nonsense` is no format that is read; these are: .*extxyz.*vasp-out'
    ):
        format_of('x.out', b'', 'nonsense')
    with pytest.raises(UnreadableFileError, match=r"formats=\{'x.out': 'gpaw-out'\}; one of .*aims-output.*extxyz"):
        format_of('x.out', b'something')
    with pytest.raises(UnreadableFileError, match='CP2K, which ASE does not read'):
        format_of('cp2k.out', b' CP2K| version string:    CP2K version 2023.1\n')


def test_all_formats_are_those_of_ase():
    assert set(ioformats) >= FORMATS
    assert all(ioformats[name].can_read for name in FORMATS)


@pytest.mark.parametrize('compress', [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize('name', ['a.extxyz{}', 'a{}'])
def test_compressed_files_are_read(compress, name):
    ending = {gzip.compress: '.gz', lzma.compress: '.xz', bz2.compress: '.BZ2'}[compress]
    content = ''.join(FRAMES).encode()
    assert len(reading(compress(content), name.format(ending)).frames) == 3
    with pytest.raises(UnreadableFileError, match='truncated or damaged'):
        reading(compress(content)[:-9], name.format(ending))
    assert is_pickle(io.BytesIO(compress(b'\x80\x04K\x01.')))
    assert not is_pickle(io.BytesIO(compress(content)))


def _archive(kind, content):
    handle = io.BytesIO()
    if kind == 'zip':
        with zipfile.ZipFile(handle, 'w') as archive:
            archive.writestr('a.extxyz', content)
    else:
        with tarfile.open(fileobj=handle, mode=kind) as archive:
            member = tarfile.TarInfo('a.extxyz')
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return handle.getvalue()


@pytest.mark.parametrize(
    ('pack', 'name', 'what'),
    [
        (partial(_archive, 'zip'), 'a.extxyz.zip', 'a zip archive'),
        (partial(_archive, 'zip'), 'a.extxyz', 'a zip archive'),
        (partial(_archive, 'w'), 'a.tar', 'a tar archive'),
        (partial(_archive, 'w:gz'), 'a.tar.gz', 'a tar archive'),
        (partial(lzma.compress, format=lzma.FORMAT_ALONE), 'a.extxyz.lzma', 'compressed by lzma'),
        (lambda content: b'\x28\xb5\x2f\xfd' + content, 'a.extxyz.zst', 'compressed by zstd'),
        (lambda content: gzip.compress(bz2.compress(content)), 'a.extxyz.gz', 'compressed twice, the second time'),
    ],
)
def test_files_that_are_packed_in_another_way_are_refused(pack, name, what):
    with pytest.raises(UnreadableFileError, match=f'is {what}.*unpack it, and give the files in it'):
        reading(pack(''.join(FRAMES).encode()), name)


@pytest.mark.parametrize('compress', [gzip.compress, lzma.compress, bz2.compress])
def test_files_that_explode_are_refused(compress):
    bomb = compress(bytes(70 << 20))
    with pytest.raises(UnreadableFileError, match=r'more than 67,108,864 when decompressed'):
        reading(bomb, 'a.extxyz.gz')


def test_a_byte_order_mark_is_passed_over():
    assert len(reading(b'\xef\xbb\xbf' + FRAMES[0].encode(), 'a.extxyz').frames) == 1


@pytest.mark.parametrize(
    ('text', 'file_format', 'message'),
    [
        (DUMP.format(10**11, 'element'), 'lammps-dump-text', 'it claims 100000000000 atoms'),
        (DUMP.format(2, 'type'), 'lammps-dump-text', 'types and no elements'),
        ('1\nProperties=' + ':'.join(f'a{i}:R:1000' for i in range(99)) + '\nH 0\n', 'extxyz', 'claims 99000 columns'),
        ('1\nProperties=pos:R:1001\nH 0\n', 'extxyz', 'more than 1000 columns'),
        ('3\n\nH 0 0 0', 'extxyz', 'line 1 claims 3 atoms, but 3 lines are left'),
    ],
)
def test_claims(text, file_format, message):
    with pytest.raises(ValueError, match=message):
        checked(text, file_format)


def scsteps(*energies):
    return ''.join(f'<scstep><energy><i name="e_fr_energy">{energy}</i></energy></scstep>' for energy in energies)


PW = '!    total energy              =     -14.5 Ry\n     estimated scf accuracy    <       {} Ry\n'


@pytest.mark.fault(
    'a calculation of VASP that used up its electronic steps, or another that says that it did not converge',
    engine='fits to it',
    here='the frame is refused with the reason, unless `allow_unconverged` says otherwise; then the report counts it',
    ends='none is made',
)
@pytest.mark.parametrize(
    ('text', 'file_format', 'n', 'bad'),
    [
        (
            f'<i name="NELM">2</i><calculation>{scsteps(1, 2)}</calculation><calculation>{scsteps(1)}</calculation>',
            'vasp-xml',
            2,
            [0],
        ),
        (
            '- Iteration 1( 1)\naborting loop because EDIFF is reached\nFREE ENERGIE OF THE ION-ELECTRON SYSTEM\n'
            '- Iteration 2( 1)\n- Iteration 2( 2)\nFREE ENERGIE OF THE ION-ELECTRON SYSTEM\n',
            'vasp-out',
            2,
            [1],
        ),
        ('aborting loop EDIFF was not reached\nFREE ENERGIE OF THE ION-ELECTRON SYSTEM\n', 'vasp-out', 1, [0]),
        ('SCF Done: E\nConvergence criterion not met.\nSCF Done: E\n', 'gaussian-out', 2, [1]),
        (
            'convergence NOT achieved after 2 iterations\n' + PW.format('1e-9') + PW.format('1e-9'),
            'espresso-out',
            2,
            [0],
        ),
        (PW.format('1e-9') + PW.format('0.1'), 'espresso-out', 2, [1]),
        ('Did not converge!\nEnergy contributions relative to\n', 'gpaw-out', 1, [0]),
        # Of more than was read, which it is cannot be told.
        ('SCF Done: E\nConvergence criterion not met.\nSCF Done: E\n', 'gaussian-out', 3, [0, 1, 2]),
        ('SCF Done: E\n', 'gaussian-out', 1, []),
        (''.join(FRAMES), 'extxyz', 3, []),
    ],
)
def test_what_has_not_converged(text, file_format, n, bad):
    found = unconverged(text, file_format, [2] * n)
    assert sorted(found) == bad
    assert all('allow_unconverged' in reason for reason in found.values())


def test_a_file_in_which_something_is_not_converged_is_refused_as_a_whole_where_frames_are_wanted():
    outcar = (DATA / 'vasp/OUTCAR_example_1').read_text().replace('EDIFF is reached', '')
    found = reading(outcar, 'OUTCAR')
    assert list(found.unconverged) == [0]
    with pytest.raises(UnreadableFileError, match='structure 0 of OUTCAR: VASP did not converge'):
        read(io.BytesIO(outcar.encode()), source_key='key', name='OUTCAR')
    assert len(read(io.BytesIO(outcar.encode()), source_key='key', name='OUTCAR', allow_unconverged=True)) == 1


def test_structures_that_were_begun_and_not_finished_are_said():
    outcar = (DATA / 'vasp/OUTCAR_example_1').read_text()
    found = reading(f'{outcar}\n FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n', 'OUTCAR')
    assert len(found.frames) == 1
    assert '1 of 2 structures could be read' in found.warnings[-1]


@pytest.mark.parametrize('file_format', ['extxyz', 'traj', 'json', 'gen', 'vasp', 'xsf', 'cif', 'proteindatabank'])
def test_what_ase_writes_is_read_by_the_name_of_the_format(tmp_path, file_format):
    atoms = bulk('Cu', cubic=True)
    ase.io.write(tmp_path / 'structures', atoms, format=file_format)
    frames = read(tmp_path / 'structures', source_key='key', file_format=file_format)
    assert len(frames.numbers) == 4
    np.testing.assert_allclose(frames.positions, atoms.positions, atol=1e-3)


@pytest.fixture(scope='module')
def reader():
    with FileReader() as started:
        yield started


@pytest.mark.fault(
    'a file of structures that claims more than it holds, or is made to take long',
    engine='takes all memory that there is, or hours',
    here='is read in a process of its own, whose time and memory follow from the size of the file',
    ends='none is made',
)
def test_a_reader_that_runs_away_is_stopped(reader, monkeypatch):
    monkeypatch.setattr('aiida_pacemaker.frames.ase_io.apart.SECONDS', 1)
    monkeypatch.setattr('aiida_pacemaker.frames.ase_io.apart.SECONDS_PER_BYTE', 0)
    number = '(' * 20_000 + '1' + ')' * 20_000
    cell = 'CELL_PARAMETERS angstrom\n4 0 0\n0 4 0\n0 0 4\n'
    pw = (
        f'&system\n ibrav=0, nat=1, ntyp=1\n/\nATOMIC_SPECIES\nH 1 a\n{cell}ATOMIC_POSITIONS angstrom\nH {number} 0 0\n'
    )
    with pytest.raises(UnreadableFileError, match='more than 1 s of the processor'):
        reader.read(io.BytesIO(pw.encode()), source_key='key', name='a.pwi')
    cube = b'a\nb\n 100000000000 0 0 0\n 9 1 0 0\n 9 0 1 0\n 9 0 0 1\n 1 1 0 0 0\n'
    with pytest.raises(UnreadableFileError, match='MemoryError'):
        reader.read(io.BytesIO(cube), source_key='key', name='a.cube')
    monkeypatch.undo()
    # It is as if nothing had been.
    assert len(reader.read(io.BytesIO(FRAMES[0].encode()), source_key='key', name='a.extxyz').frames) == 1


def test_reading_apart_is_reading(reader, tmp_path):
    atoms = molecule('H2O')
    atoms.info['REF_energy'] = -1.5
    atoms.arrays['REF_forces'] = np.ones((3, 3))
    ase.io.write(tmp_path / 'a.extxyz', atoms, columns=['symbols', 'positions', 'REF_forces'])
    for keys in (None, LabelKeys(energy='REF_energy', forces='REF_forces')):
        with (tmp_path / 'a.extxyz').open('rb') as handle:
            apart = reader.read(handle, source_key='key', name='a.extxyz', keys=keys)
        here = read_all(tmp_path / 'a.extxyz', source_key='key', keys=keys)
        assert apart.frames.labelled == here.frames.labelled == (keys is not None)
        np.testing.assert_array_equal(apart.frames.positions, here.frames.positions)
        assert (apart.warnings, apart.missing, apart.unconverged) == (here.warnings, here.missing, here.unconverged)
    with pytest.raises(UnreadableFileError, match=r'x\.extxyz holds no structures'):
        reader.read(io.BytesIO(), source_key='key', name='x.extxyz')
    with pytest.raises(ValueError, match='no structure has `E`'):
        reader.read(io.BytesIO(FRAMES[0].encode()), source_key='key', name='a.extxyz', keys=LabelKeys(energy='E'))


@pytest.mark.parametrize('name', ['../../a.castep', '/etc/passwd', 'a\nb.extxyz', 'numpy.py', 'x' * 5000])
def test_names_of_files_do_no_harm(reader, name):
    with pytest.raises(UnreadableFileError):
        reader.read(io.BytesIO(b'nothing'), source_key='key', name=name)


def test_files_that_a_file_names_are_not_opened(reader, tmp_path):
    secret = tmp_path / 'secret'
    secret.write_text('H 0 0 0\n')
    content = f'&system\n ibrav=0\n/\nCELL_PARAMETERS\n{secret}\n'
    with pytest.raises(UnreadableFileError):
        reader.read(io.BytesIO(content.encode()), source_key='key', name='a.pwi')


def test_energies_of_traj_files_are_those_of_the_calculator(tmp_path):
    atoms = bulk('Cu', cubic=True)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    ase.io.write(tmp_path / 'a.traj', atoms)
    assert read(tmp_path / 'a.traj', source_key='key').energy == from_atoms([atoms], 'key').energy
