"""The loops whose processes are killed: their inputs, and what has to be the same whatever was killed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from ase.build import bulk

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.testing.fake.install import PROGRAMS, install
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

#: Modules for the processes of the instance, among them a calculator.
MODULES = Path(__file__).parent / 'instance_modules'

#: Seconds that the label of a frame takes.
SECONDS = 0.3

_SETTINGS = {
    'first_iterations': 6,
    'later_iterations': 3,
    'frames_per_generation': 3,
    'max_generations': 3,
    'gamma_threshold': 1.01,
}


def codes_of(computer: orm.Computer, folder: Path, *, real: bool) -> dict[str, orm.InstalledCode]:
    """Return codes of the real or the fake engine, by the names of their programs."""
    programs = {name: Path(sys.executable).parent / name for name in (*PROGRAMS, 'python')}
    if not real:
        programs = install(folder / 'fake')
    return {
        name: orm.InstalledCode(label=name, computer=computer, filepath_executable=str(path)).store()
        for name, path in programs.items()
    }


def datasets() -> tuple[PaceDatasetData, PaceDatasetData]:
    """Return labelled frames of copper with small displacements, and unlabelled ones with larger displacements."""
    known, unknown = [], []
    for seed in range(8):
        atoms = bulk('Cu', cubic=True, a=3.58 + 0.01 * seed)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = _free_calculator()
        atoms.get_stress()
        known.append(atoms)
    for seed in range(8, 40):
        atoms = bulk('Cu', cubic=True, a=3.3 + 0.02 * (seed % 24))
        atoms.rattle(0.004 * seed, seed=seed)
        unknown.append(atoms)
    return (
        PaceDatasetData(from_atoms(known, 'known')).store(),
        PaceDatasetData(from_atoms(unknown, 'unknown')).store(),
    )


def _free_calculator() -> Any:
    from ase.calculators.lj import LennardJones

    return LennardJones(sigma=2.3, epsilon=0.4, rc=4.5, smooth=True)


def builder_of(
    codes: dict[str, orm.InstalledCode], known: PaceDatasetData, pool: PaceDatasetData, label_log: Path
) -> Any:
    """Return the inputs of a loop whose calculator writes in a file what it calculates."""
    return PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=codes['pacemaker'],
        pace_yaml2yace=codes['pace_yaml2yace'],
        pace_activeset=codes['pace_activeset'],
        pace_select=codes['pace_select'],
        python=codes['python'],
        dataset=known,
        pool=pool,
        protocol='fast',
        overrides={
            'config': {
                'evaluator': 'pyace',
                'r_cut': 4.5,
                'max_deg': 7,
                'max_order': 1,
                'fit': {'trainable_parameters': 'func'},
            },
            'settings': _SETTINGS,
            # With all atoms, what is selected does not depend on how far a fit came before it was interrupted.
            'activeset': {'all_atoms': True},
        },
        reference_energies={'Cu': 0.0},
        label={
            'entry_point': 'pacemaker.label.ase',
            'inputs': {
                'code': codes['python'],
                'calculator': orm.Dict(
                    {
                        'calculator': 'slow_calculator:SlowCalculator',
                        'arguments': {'seconds': SECONDS, 'log': str(label_log)},
                    }
                ),
                'options': orm.Dict({'environment_variables': {'PYTHONPATH': str(MODULES)}}),
            },
        },
    )


def outcome_of(node: orm.WorkChainNode, label_log: Path) -> dict[str, Any]:
    """Return what a loop has made, in terms that do not depend on when it ran."""
    called = node.called_descendants
    outcome: dict[str, Any] = {
        'pk': node.pk,
        'state': str(node.process_state),
        'exit': [node.exit_status, node.exit_message],
        'jobs': dict(Counter(f'{job.process_label} {job.exit_status}' for job in called)),
        'unfinished': [f'{job.process_label}<{job.pk}> {job.process_state}' for job in called if not job.is_terminated],
        'delivered': _delivered(called),
        'stop_reason': node.outputs.stop_reason.value if 'stop_reason' in node.outputs else None,
    }
    if 'dataset' in node.outputs:
        frames = node.outputs.dataset.get_frames()
        digests = np.array(hex_hashes(frame_hashes(frames)))
        outcome['dataset'] = sorted(digests.tolist())
        outcome['generations'] = {
            int(generation): sorted(digests[frames.generation == generation].tolist())
            for generation in np.unique(frames.generation)
        }
        outcome['labels'] = [round(float(energy), 8) for energy in frames.energy[np.argsort(digests)]]
    lines = [line.split() for line in label_log.read_text().splitlines()] if label_log.exists() else []
    outcome['calculated'] = dict(Counter(frame for event, frame, _ in lines if event == 'done'))
    outcome['begun'] = sum(event == 'begun' for event, _, _ in lines)
    return outcome


def _delivered(called: list[orm.ProcessNode]) -> dict[str, int]:
    """Return how often each frame was labelled: in how many jobs that gave labels."""
    counts: Counter[str] = Counter()
    for job in called:
        if job.process_label == 'AseLabelCalculation' and 'trajectories' in job.outputs:
            for trajectory in job.outputs.trajectories.values():
                counts.update(_hashes(job.inputs.dataset, trajectory))
    return dict(counts)


def _hashes(dataset: PaceDatasetData, trajectory: orm.TrajectoryData) -> list[str]:
    """Return the hashes of the frames of a dataset whose positions are in a trajectory."""
    frames = dataset.get_frames()
    digests = hex_hashes(frame_hashes(frames))
    steps = {positions.tobytes() for positions in trajectory.get_array('positions')}
    positions = [
        frames.positions[start:stop] for start, stop in zip(frames.offsets[:-1], frames.offsets[1:], strict=True)
    ]
    found = [digest for digest, place in zip(digests, positions, strict=True) if place.tobytes() in steps]
    if len(found) != len(steps):
        raise RuntimeError(f'{len(steps)} labelled frames, of which {len(found)} were asked for')
    return found
