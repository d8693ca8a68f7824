"""Trainings on Slurm that are cancelled or run out of walltime or memory; `tasks.py` calls them."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from aiida import orm
from aiida.engine import submit

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.workflows.base.train import PaceTrainBaseWorkChain

#: A fit that has hundreds of parameters, and so would go on for hundreds of iterations.
CONFIG = {
    'elements': ['Cu'],
    'evaluator': 'pyace',
    'r_cut': 5.0,
    'max_deg': 9,
    'max_order': 2,
    'seed': 1,
    'fit': {'optimizer': 'BFGS'},
}

#: Seconds that the fit computes that runs out of walltime. Slurm counts in minutes, and looks twice a minute: a job
#: that asks for one is ended after 60 to 90 seconds.
LONG = 110.0


def cancelled_and_out_of_walltime(codes: dict[str, orm.InstalledCode], known: orm.Data) -> dict[str, Any]:
    """Train once and cancel the job, then train for longer than the job may take.

    How long the second has to be is found by the first.
    """
    cancelled = _train(codes, known, CONFIG, max_epochs=20)
    per_iteration = _cancel_after(cancelled, 6)
    epochs = max(10, round(LONG / per_iteration))
    late = _train(codes, known, CONFIG, max_epochs=epochs, max_wallclock_seconds=60)
    return {'cancelled': cancelled, 'late': late}


def out_of_memory(codes: dict[str, orm.InstalledCode], known: orm.Data, memory: int) -> orm.WorkChainNode:
    """Train with six workers in a memory that is enough for three.

    :param memory: in MB.
    """
    config = {**CONFIG, 'backend': {'evaluator': 'pyace', 'parallel_mode': 'process', 'n_workers': 6}}
    return _train(codes, known, config, max_epochs=2, max_memory_kb=memory * 1024)


def _train(
    codes: dict[str, orm.InstalledCode], known: orm.Data, config: dict[str, Any], max_epochs: int, **options: Any
) -> orm.WorkChainNode:
    return submit(
        PaceTrainBaseWorkChain,
        # A machine that is busy with something else needs more legs than it should.
        max_iterations=orm.Int(10),
        pace={
            'code': codes['pacemaker'],
            'dataset': known,
            'config': orm.Dict(config),
            'baseline': orm.Dict(DeltaBaseline.for_elements(['Cu']).model_dump(mode='json')),
            'reference_energies': orm.Dict({'Cu': 0.0}),
            'max_epochs': orm.Int(max_epochs),
            'metadata': {'options': {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, **options}},
        },
    )


def _cancel_after(chain: orm.WorkChainNode, iterations: int) -> float:
    """Cancel the job of a chain as a person does, and return how many seconds of a core one of its iterations took.

    On a machine that is busy with something else, an iteration takes longer than that.
    """
    seen: dict[int, float] = {}
    end = time.monotonic() + 180
    while time.monotonic() < end and not chain.is_terminated:
        time.sleep(0.1)
        for job in chain.called:
            folder = job.get_remote_workdir() if isinstance(job, orm.CalcJobNode) else None
            rows = _rows(Path(folder) / 'metrics.txt') if folder else 0
            if rows and rows not in seen:
                seen[rows] = _core_seconds(folder)
            if rows > iterations:
                subprocess.run(['scancel', str(job.get_job_id())], check=True)
                first = min(seen)
                return (seen[rows] - seen[first]) / (rows - first)
    raise RuntimeError(f'no {iterations} iterations within three minutes: {seen}')


def _core_seconds(folder: str) -> float:
    """Return how long the processes that run in a folder have been computing."""
    total = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == folder:
                times = process.cpu_times()
                total += times.user + times.system
    return total


def _rows(path: Path) -> int:
    return max(0, len(path.read_text().splitlines()) - 1) if path.exists() else 0


def legs_of(chain: orm.WorkChainNode) -> dict[str, Any]:
    """Return what is to be known of the jobs of a chain, and of the curve that is made of theirs."""
    jobs = sorted((job for job in chain.called if isinstance(job, orm.CalcJobNode)), key=lambda job: job.pk)
    curves = chain.outputs.learning_curves if 'learning_curves' in chain.outputs else None
    return {
        'wanted': chain.inputs.pace.max_epochs.value,
        'legs': [
            {
                'exit': job.exit_code.label if hasattr(job.exit_code, 'label') else _label(job),
                'scheduler': _state(job),
                'iterations': job.outputs.metrics['iterations'] if 'metrics' in job.outputs else 0,
                'losses': _array(job.outputs.learning_curves, 'train_loss') if 'learning_curves' in job.outputs else [],
                'workers': job.inputs.config.get('backend', {}).get('n_workers'),
            }
            for job in jobs
        ],
        'iterations': [] if curves is None else _array(curves, 'train_iter_num'),
        'losses': [] if curves is None else _array(curves, 'train_loss'),
        'stop_reason': chain.outputs.stop_reason.value if 'stop_reason' in chain.outputs else None,
    }


def _array(curves: orm.ArrayData, name: str) -> list[float]:
    return np.asarray(curves.get_array(name), dtype=float).tolist()


def _label(job: orm.CalcJobNode) -> str | None:
    """Return the name of the exit code of a job."""
    codes = {code.status: label for label, code in job.process_class.exit_codes.items()}
    return codes.get(job.exit_status)


def _state(job: orm.CalcJobNode) -> str | None:
    """Return how Slurm says that a job has ended."""
    said = (job.get_detailed_job_info() or {}).get('stdout', '').splitlines()
    return dict(zip(said[0].split('|'), said[1].split('|'), strict=False)).get('State') if len(said) > 1 else None
