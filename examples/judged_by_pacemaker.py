"""An exact linear fit, judged by `pacemaker`: the same loss, and nothing better.

Run with `verdi run examples/judged_by_pacemaker.py`; `aiida-pacemaker setup` makes the profile and the codes it needs.
With the PK of an active-learning loop as an argument, the functions and the data are those of its last potential, else
the 100 frames of `mgo-lda.extxyz`, of which 30 are kept aside. Hundreds of functions take minutes.

The functions are fitted exactly by the loss of Pacemaker (`linear.prior: pacemaker`). Then `pacemaker` continues from
the solution with the same weights. It evaluates the potential as a whole, not function by function, and has its own
weights and loss, so it is an independent judge: at its iteration 0 it says the loss of the potential, and then it
searches for a lower one. Last come the errors on frames that were not fitted, beside those of the default fit of the
same functions (weights in physical words, priors by the evidence), which does not minimise this loss.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker import PaceDatasetData, PacePotentialData, default_baseline, merge_frames, split_frames
from aiida_pacemaker.analysis.judgement import Judgement, judge

# `verdi run` gives a script the path that it was called by as its first argument.
DATA = Path(sys.argv[0]).resolve().parent / 'mgo-lda.extxyz'

#: Isolated atoms at the settings of the data, in eV: see README.md beside this file.
REFERENCE_ENERGIES = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
#: The loss of Pacemaker: weight of the forces, and penalty on the squares of the coefficients. The penalty L1, which a
#: fit by `pacemaker` has by default, has no exact solution.
KAPPA, PENALTY = 0.3, 1e-8
#: The search of the judge, which does not end because the loss hardly changes. The gradients of `pyace` are numerical,
#: each takes an evaluation for each function: along a line no more than five points are tried.
ITERATIONS, OPTIONS = 3, {'ftol': 0.0, 'gtol': 0.0, 'maxls': 5}


@dataclass
class Task:
    """What is fitted.

    :param dataset: frames that are fitted.
    :param test: frames that are not.
    :param baseline: of both fits.
    :param reference_energies: of both fits, in eV.
    :param basis: keys of the config that say which functions.
    :param potential: whose functions are fitted, if they are not those of the config, by the default weights and prior.
    """

    dataset: PaceDatasetData
    test: PaceDatasetData
    baseline: orm.Dict
    reference_energies: orm.Dict
    basis: dict[str, Any]
    potential: PacePotentialData | None = None


def run(process: Any, **inputs: Any) -> Any:
    """Return the outputs of a process, which has to come to a good end."""
    outputs, node = run_get_node(process, **inputs)
    if not node.is_finished_ok:
        raise SystemExit(f'{node.process_label}<{node.pk}> failed with [{node.exit_status}] {node.exit_message}')
    return outputs


def of_the_examples() -> Task:
    """Return the task that is in the file beside this one."""
    frames, _ = merge_frames(DATA)
    dataset, test = split_frames(frames, test_fraction=0.3, seed=1)
    return Task(
        dataset,
        test,
        default_baseline(dataset, orm.Bool(False), orm.Str('core')),
        orm.Dict(REFERENCE_ENERGIES),
        {'elements': ['Mg', 'O'], 'r_cut': 5.5, 'max_deg': 4},
    )


def of_loop(pk: str) -> Task:
    """Return the task of the last potential of a loop."""
    loop = orm.load_node(pk)
    missing = [name for name in ('potential', 'dataset', 'test_dataset') if name not in loop.outputs]
    if missing:
        raise SystemExit(f'{loop} has no output {", ".join(missing)}: a loop with a test set and a potential is needed')
    outputs = loop.outputs
    basis = {'elements': outputs.potential.elements, 'r_cut': outputs.potential.cutoff, 'max_deg': 4}
    return Task(
        *(outputs.dataset, outputs.test_dataset, outputs.baseline, outputs.reference_energies),
        basis=basis,
        potential=outputs.potential,
    )


def fit(task: Task, code: str, potential: PacePotentialData | None, **config: Any) -> Any:
    """Return the outputs of a training."""
    pace = {
        'code': orm.load_code(f'{code}@localhost'),
        'config': orm.Dict({**task.basis, **config}),
        'dataset': task.dataset,
        'baseline': task.baseline,
        'reference_energies': task.reference_energies,
        **({} if potential is None else {'potential': potential}),
    }
    return run(WorkflowFactory('pacemaker.train.base'), pace=pace)


def errors_of(task: Task, potential: PacePotentialData) -> dict[str, Any]:
    """Return the errors of a potential on frames that were not fitted."""
    outputs = run(
        CalculationFactory('pacemaker.evaluate'),
        code=orm.load_code('pace_python@localhost'),
        potential=potential,
        datasets={'test': task.test},
    )
    return outputs['errors']['datasets']['test']


def report(judgement: Judgement) -> None:
    """Print what the judge says."""
    print(f'\nThe loss of the exact fit, by its own equations:     {judgement.exact:.12g}')
    print(f'The loss of this potential, says `pacemaker`:        {judgement.reported:.12g}')
    print(f'  relative difference {judgement.difference:+.1e}')
    print(f'The lowest loss that its search finds from there:    {judgement.lowest:.12g}')
    print(f'  lower by {judgement.gain:.1e} of it, {judgement.iterations} iterations')
    if judgement.confirmed:
        print('`pacemaker` says the same loss and finds nothing better.')
    elif judgement.same_loss:
        raise SystemExit('`pacemaker` finds something better: the solution is not that of the smallest loss.')
    else:
        raise SystemExit('`pacemaker` says another loss: weights, data or functions are not the same.')


def main() -> None:
    task = of_loop(sys.argv[1]) if len(sys.argv) > 1 else of_the_examples()
    default = task.potential or fit(task, 'pace_python', None)['potential']
    exact = fit(
        *(task, 'pace_python', task.potential),
        linear={'prior': 'pacemaker'},
        fit={'loss': {'kappa': KAPPA, 'L2_coeffs': PENALTY}},
    )
    potential = exact['potential']
    print(f'\n{potential}\n{task.dataset.n_frames} frames are fitted, {task.test.n_frames} are kept aside.')
    judged = fit(
        task,
        'pacemaker',
        potential,
        evaluator='pyace',
        max_epochs=ITERATIONS,
        fit={
            'loss': {'kappa': KAPPA, 'L1_coeffs': 0.0, 'L2_coeffs': PENALTY},
            'optimizer': 'L-BFGS-B',
            'options': OPTIONS,
        },
    )
    curves = judged['learning_curves']
    report(
        judge(
            exact['metrics']['loss'],
            curves.get_array('train_loss').tolist(),
            curves.get_array('train_iter_num').tolist(),
        )
    )
    print(f'\nErrors on the {task.test.n_frames} frames that were not fitted:')
    for name, one in (('the loss of Pacemaker', potential), ('the default', default)):
        errors = errors_of(task, one)
        print(f'  {name:22} {1000 * errors["rmse_energy"]:7.1f} meV/atom {1000 * errors["rmse_forces"]:7.0f} meV/Å')


if __name__ == '__main__':
    main()
