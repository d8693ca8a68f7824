"""Potentials that were fitted elsewhere: what their files say, and what is said of them."""

import json
from pathlib import Path

import pytest

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.errors import ImportedPotentialError, PotentialFileError
from aiida_pacemaker.pace.imported_potentials import origin_of, read_companion, write_companion

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'train'
PLAIN = (TRAIN / 'default' / 'output_potential.yaml').read_bytes()
CORE = (TRAIN / 'repulsion' / 'output_potential.yaml').read_bytes()
#: As of a fit to total energies: the engine has subtracted nothing, and says so.
SILENT = PLAIN.replace(rb'"{\"Mg\": -27.441497613508435, \"O\": -426.11747912713093}"', b'"{}"')
#: A repulsion of the engine's older kind.
OWN = PLAIN.replace(b'core-repulsion: [0, 0]', b'core-repulsion: [100, 5]')
NONE = DeltaBaseline(mode='none')
DELTA = DeltaBaseline.for_elements(['Mg', 'O'])
REFERENCES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}


def test_what_the_file_says_is_taken():
    assert origin_of(PLAIN, None, NONE) == (REFERENCES, NONE)
    assert origin_of(PLAIN, {'Mg': -27.441497613508}, {'mode': 'none'}) == (REFERENCES, NONE)
    energies, baseline = origin_of(CORE, None, None)
    assert (energies, baseline.mode) == (REFERENCES, 'core')
    assert origin_of(PLAIN, None, DELTA) == (REFERENCES, DELTA)
    assert origin_of(SILENT, {'Mg': 0, 'O': -3.0}, NONE)[0] == {'Mg': 0.0, 'O': -3.0}
    assert origin_of(OWN, None, NONE)[1] == NONE


@pytest.mark.parametrize(
    ('content', 'energies', 'baseline', 'said'),
    [
        (PLAIN, None, None, 'give the baseline if one was, or the mode `none`'),
        (PLAIN, {'Mg': -3.7}, NONE, r'Mg: the file says -27.44149761 eV and -3.7 eV is given.*Leave them out'),
        (PLAIN, {'Al': -3.7}, NONE, 'energies for Al, which the potential does not describe'),
        (SILENT, {'Mg': 0.0}, NONE, r'subtracted for O: give `reference_energies` in eV, 0 where total energies'),
        (PLAIN, None, {'mode': 'core', 'zbl': {'inner': 1, 'outer': 2}}, 'the file has no ZBL core'),
        (CORE, None, NONE, 'the file has the ZBL core of the engine'),
        (CORE, None, DELTA, 'the file has the ZBL core of the engine'),
        (OWN, None, DELTA, 'core repulsion of its own for Mg-Mg, .*repel each other twice'),
        (PLAIN, None, {'mode': 'nothing'}, r"`baseline` cannot be used:\n  mode: found 'nothing', needed: 'delta', "),
    ],
)
def test_what_is_said_is_held_against_the_file(content, energies, baseline, said):
    with pytest.raises(ImportedPotentialError, match=f'(?s){said}'):
        origin_of(content, energies, baseline)


def test_files_that_are_no_potential():
    with pytest.raises(PotentialFileError):
        origin_of(b'elements: [Mg]', None, NONE)


def test_what_stands_beside_a_potential(tmp_path):
    path = tmp_path / 'mgo.yaml'
    path.write_bytes(PLAIN)
    assert read_companion(path) is None
    beside = tmp_path / 'mgo.baseline.json'
    beside.write_bytes(write_companion(DELTA, REFERENCES, {'.yaml': PLAIN}))
    companion = read_companion(path)
    assert (companion.baseline, companion.reference_energies) == (DELTA, REFERENCES)
    # Under another name, all the same.
    for file in (path, beside):
        file.rename(tmp_path / file.name.replace('mgo', 'renamed'))
    assert read_companion(tmp_path / 'renamed.yaml') == companion


def test_a_c_tilde_basis_made_later_is_no_other_content(tmp_path):
    path = tmp_path / 'mgo.yaml'
    path.write_bytes(PLAIN)
    (tmp_path / 'mgo.baseline.json').write_bytes(write_companion(DELTA, REFERENCES, {'.yaml': PLAIN}))
    (tmp_path / 'mgo.yace').write_text('{}')
    assert read_companion(path).baseline == DELTA


def test_what_stands_beside_another_potential_is_not_believed(tmp_path):
    path, beside = tmp_path / 'mgo.yaml', tmp_path / 'mgo.baseline.json'
    path.write_bytes(CORE)
    beside.write_bytes(write_companion(DELTA, REFERENCES, {'.yaml': PLAIN}))
    with pytest.raises(ImportedPotentialError, match=r'belongs to another content of mgo\.yaml'):
        read_companion(path)
    path.write_bytes(PLAIN)
    beside.write_bytes(write_companion(DELTA, REFERENCES, {'.yaml': PLAIN, '.yace': b'another'}))
    (tmp_path / 'mgo.yace').write_text('{}')
    with pytest.raises(ImportedPotentialError, match=r'belongs to another content of mgo\.yace'):
        read_companion(path)
    for damaged in ('', '[]', '{"sha256": {}}', json.dumps({'sha256': {}, 'baseline': {}, 'reference_energies': {}})):
        beside.write_text(damaged)
        with pytest.raises(ImportedPotentialError, match=r'mgo\.baseline\.json cannot be read'):
            read_companion(path)
