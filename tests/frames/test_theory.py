"""What affects the energies, and what does not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from aiida_pacemaker.frames.theory import LevelOfTheory, differences

MGO = {
    'code': 'quantumespresso.pw',
    'version': '7.2',
    'functional': 'PBE',
    'pseudopotentials': {
        'Mg': {'md5': 'a' * 32, 'filename': 'Mg.upf', 'family': 'SSSP/1.3'},
        'O': {'md5': 'b' * 32, 'filename': 'O.upf', 'family': 'SSSP/1.3'},
    },
    'cutoffs': {'wavefunction': 680.0, 'density': 5440.0},
    'kpoints_distance': 0.15,
    'smearing': {'kind': 'cold', 'width': 0.27},
    'spin': 'none',
    'arguments': {'vdw_corr': 'dft-d3', 'starting_magnetization': {'Mg': 0.1, 'O': 0.2}},
}


def level(**changes) -> LevelOfTheory:
    return LevelOfTheory.model_validate({**MGO, **changes})


def test_it_survives_being_stored():
    again = LevelOfTheory.model_validate_json(level().model_dump_json(exclude_none=True))
    assert again == level()
    assert again.fingerprint() == level().fingerprint()
    assert len(level().fingerprint()) == 16


@pytest.mark.parametrize(
    'changes',
    [
        {'version': None},
        {'version': '6.7'},
        {'pseudopotentials': {'O': {'md5': 'b' * 32}, 'Mg': {'md5': 'a' * 32, 'family': 'mine'}}},
        {'cutoffs': {'wavefunction': 680, 'density': 5440 * (1 + 1e-10)}},
        {'arguments': {'starting_magnetization': {'O': 0.2, 'Mg': 0.1}, 'vdw_corr': 'dft-d3'}},
    ],
    ids=['no version', 'version', 'family and filename', 'last digits', 'order'],
)
def test_what_does_not_decide(changes):
    assert level(**changes).fingerprint() == level().fingerprint()
    assert differences(level(**changes), level()) == []


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'code': 'vasp'}, 'code: "vasp" and "quantumespresso.pw"'),
        ({'functional': 'LDA'}, 'functional: "LDA" and "PBE"'),
        ({'pseudopotentials': {'Mg': {'md5': 'c' * 32}}}, f'pseudopotentials.Mg: "{"c" * 32}" and "{"a" * 32}"'),
        ({'cutoffs': {'wavefunction': 544.0}}, 'cutoffs.wavefunction: 544.0 and 680.0'),
        ({'kpoints_distance': None, 'kpoints_mesh': [2, 2, 2]}, 'kpoints_mesh: [2.0, 2.0, 2.0] and not said'),
        ({'smearing': None}, 'smearing: not said and {"kind": "cold", "width": 0.27}'),
        ({'spin': 'collinear'}, 'spin: "collinear" and "none"'),
        ({'arguments': {'vdw_corr': 'none'}}, 'arguments.vdw_corr: "none" and "dft-d3"'),
    ],
)
def test_what_decides(changes, said):
    assert level(**changes).fingerprint() != level().fingerprint()
    assert said in differences(level(**changes), level())


def test_elements_that_only_one_has_are_no_difference():
    """Frames of Mg alone, and the isolated atom, go with those of MgO."""
    alone = level(
        pseudopotentials={'Mg': MGO['pseudopotentials']['Mg']},
        arguments={'vdw_corr': 'dft-d3', 'starting_magnetization': {'Mg': 0.1}},
    )
    assert alone.fingerprint() != level().fingerprint()
    assert differences(alone, level()) == []
    # None at all is something else.
    assert len(differences(level(pseudopotentials={}), level())) == 1


def test_what_is_no_level():
    for wrong in ({'code': ''}, {'cutoff': 1}, {'cutoffs': {'wavefunction': float('nan')}}, {'kpoints_distance': 0}):
        with pytest.raises(ValidationError):
            level(**wrong)


def test_it_can_be_read():
    assert str(level()) == f'quantumespresso.pw, 7.2, PBE, 680 eV, k-points by 0.15/Å ({level().fingerprint()})'
