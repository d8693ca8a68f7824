"""A relaxation by pw.x, and what its labeller is given where nothing is run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida_pseudo.data.pseudo.upf import UpfData
from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily

RELAXATION = Path(__file__).parent.parent / 'fixtures' / 'quantumespresso' / 'relax_printed_after_steps.json'


@pytest.fixture
def relaxation():
    """Return a relaxation of silicon as aiida-quantumespresso up to 4.13 gives it."""
    content = json.loads(RELAXATION.read_text())
    return {name: np.array(values) for name, values in content.items() if name != 'comment'}


@pytest.fixture
def pw_code_that_is_not_run(aiida_computer_local):
    """Return a code of pw.x where there may be none."""
    code = orm.InstalledCode(
        label='pw',
        computer=aiida_computer_local(),
        filepath_executable='/usr/bin/true',
        default_calc_job_plugin='quantumespresso.pw',
    )
    return code.store()


@pytest.fixture
def pseudo_family_that_is_not_read(aiida_profile, tmp_path):
    """Return a family of Al and Si without cutoffs, made of files that pw.x could not read."""
    label = 'bare'
    found = orm.QueryBuilder().append(CutoffsPseudoPotentialFamily, filters={'label': label}).first(flat=True)
    if found is not None:
        return found
    for element in ('Al', 'Si'):
        header = f'<UPF version="2.0.1"><PP_HEADER\nelement="{element}"\nz_valence="4.0"\n/></UPF>'
        (tmp_path / f'{element}.upf').write_text(header)
    return CutoffsPseudoPotentialFamily.create_from_folder(tmp_path, label, pseudo_type=UpfData)
