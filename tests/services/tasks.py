"""What is run on the services: the loop, and trainings that are interrupted. Called by `run_in_instance.py`."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from aiida import orm
from aiida.cmdline.utils.common import get_calcjob_report, get_workchain_report
from aiida.engine import submit
from ase.build import bulk
from ase.calculators.emt import EMT
from interrupted_trainings import cancelled_and_out_of_walltime, legs_of, out_of_memory

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain

Codes = dict[str, orm.InstalledCode]

#: Seconds after which something is wrong; on one core with SSH by its programs the loop takes three minutes.
LIMIT = 600.0


def loop(codes: Codes) -> dict[str, Any]:
    """Run the loop for two generations through the daemon, with labels by EMT on the computer of the engine."""
    known, unknown = _copper(range(8), labelled=True), _copper(range(8, 24), labelled=False)
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        **{name: codes[name] for name in ('pacemaker', 'pace_yaml2yace', 'pace_activeset', 'pace_select', 'python')},
        dataset=known,
        pool=unknown,
        protocol='fast',
        overrides={
            'config': {
                'evaluator': 'pyace',
                'r_cut': 4.5,
                'max_deg': 7,
                'max_order': 1,
                'fit': {'trainable_parameters': 'func'},
            },
            'settings': {
                'first_iterations': 6,
                'later_iterations': 3,
                'frames_per_generation': 3,
                'max_generations': 2,
                'gamma_threshold': 1.01,
            },
            'activeset': {'all_atoms': True},
        },
        reference_energies={'Cu': 0.0},
        label={
            'entry_point': 'pacemaker.label.ase',
            'inputs': {'code': codes['python'], 'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT'})},
        },
    )
    node = submit(builder)
    _wait([node])
    return {
        **_outcome(node),
        'stop_reason': _value(node, 'stop_reason'),
        'has_c_tilde': 'potential' in node.outputs and node.outputs.potential.has_c_tilde,
        'frames': [len(known.get_frames()), len(node.outputs.dataset.get_frames()) if 'dataset' in node.outputs else 0],
    }


def interrupted_trainings(codes: Codes, memory: int) -> dict[str, Any]:
    """Run trainings that are cancelled, that run out of walltime, and that run out of memory.

    :param memory: what the last may take, in MB.
    """
    known = _copper(range(30), labelled=True)
    chains = cancelled_and_out_of_walltime(codes, known)
    chains['large'] = out_of_memory(codes, known, memory)
    _wait(list(chains.values()))
    return {name: {**_outcome(chain), **legs_of(chain)} for name, chain in chains.items()}


def _copper(seeds: range, *, labelled: bool) -> PaceDatasetData:
    """Return a stored dataset of cubic cells with more and more displaced atoms."""
    images = []
    for seed in seeds:
        atoms = bulk('Cu', cubic=True, a=3.5 + 0.02 * (seed % 8))
        atoms.rattle(0.05 + 0.004 * seed, seed=seed)
        if labelled:
            atoms.calc = EMT()
            atoms.get_stress()
        images.append(atoms)
    return PaceDatasetData(from_atoms(images, 'known' if labelled else 'unknown')).store()


def _wait(nodes: list[orm.ProcessNode]) -> None:
    end = time.monotonic() + LIMIT
    while not all(node.is_terminated for node in nodes) and time.monotonic() < end:
        time.sleep(0.2)


def _value(node: orm.ProcessNode, name: str) -> Any:
    return node.outputs[name].value if name in node.outputs else None


def _outcome(node: orm.WorkChainNode) -> dict[str, Any]:
    """Return how a work chain has ended, which jobs it ran, and what a person would look at if it failed."""
    jobs = [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]
    return {
        'state': str(node.process_state),
        'exit': [node.exit_status, node.exit_message],
        'jobs': dict(Counter(f'{job.process_label} {job.exit_status}' for job in jobs)),
        'report': '\n'.join(
            [get_workchain_report(node, 'INFO'), *(get_calcjob_report(job) for job in jobs if not job.is_finished_ok)]
        ),
    }
