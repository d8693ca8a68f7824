"""A linear fit is refined by `pacemaker`: a second density, beginning from the exact linear solution.

Run with `verdi run examples/refine_linear_fit.py`; `aiida-pacemaker setup` makes the profile and the codes it needs.

With `nothing` as an argument the same is fitted from nothing, too, with as many iterations.

Thirty cells of copper are fitted exactly, with 13 functions only. The potential gets a second density under a square
root, which is zero, and `pacemaker` continues from there. The labels are those of EMT, which is not linear in any
density either. Thirty more cells tell what it was worth.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_pacemaker import (
    PaceDatasetData,
    PacePotentialData,
    default_baseline,
    merge_frames,
    split_frames,
    trajectories_from_atoms,
)
from aiida_pacemaker.calculations.functions.potentials import add_densities

BASIS = {'elements': ['Cu'], 'r_cut': 5.5, 'max_deg': 4, 'max_order': 2}
#: E = rho_1 + sqrt(rho_2), smooth where rho_2 vanishes.
EMBEDDING = {'npot': 'FinnisSinclairShiftedScaled', 'fs_parameters': [1.0, 1.0, 1.0, 0.5], 'ndensity': 2}
#: An error of 1 meV/atom counts as one of 10 meV/angstrom, as in the linear fit: kappa = n / (n + 10^2) for n atoms.
KAPPA = 4 / (4 + 10**2)
ITERATIONS = 60


def labelled_cell(seed: int) -> Atoms:
    """Return four atoms of copper, strained and displaced, with labels of EMT."""
    rng = np.random.default_rng(seed)
    atoms = bulk('Cu', a=3.6 * rng.uniform(0.92, 1.15), cubic=True)
    atoms.rattle(0.12, seed=seed)
    atoms.calc = EMT()
    # Calculated here, so that they are there to be read.
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    return atoms


def run(process: Any, **inputs: Any) -> Any:
    """Return the outputs of a process, which has to come to a good end."""
    outputs, node = run_get_node(process, **inputs)
    if not node.is_finished_ok:
        raise SystemExit(f'{node.process_label}<{node.pk}> failed with [{node.exit_status}] {node.exit_message}')
    return outputs


def report(name: str, potential: PacePotentialData, test: PaceDatasetData) -> None:
    """Print the errors of a potential on frames that were not fitted."""
    code = orm.load_code('pace_python@localhost')
    outputs = run(CalculationFactory('pacemaker.evaluate'), code=code, potential=potential, datasets={'test': test})
    errors = outputs['errors']['datasets']['test']
    print(f'{name:24} {1000 * errors["rmse_energy"]:6.1f} meV/atom {1000 * errors["rmse_forces"]:6.1f} meV/Å')


def main() -> None:
    frames, _ = merge_frames(*trajectories_from_atoms([labelled_cell(seed) for seed in range(60)]))
    dataset, test = split_frames(frames, test_fraction=0.5, seed=1)
    data = {
        'dataset': dataset,
        'baseline': default_baseline(dataset, orm.Bool(False), orm.Str('core')),
        'reference_energies': orm.Dict({'Cu': 0.0}),
    }
    train = WorkflowFactory('pacemaker.train.base')
    exact = run(train, pace={'code': orm.load_code('pace_python@localhost'), 'config': orm.Dict(BASIS), **data})

    begin = add_densities(exact['potential'], orm.Dict(EMBEDDING))
    refinement = {
        **BASIS,
        'evaluator': 'pyace',
        'max_epochs': ITERATIONS,
        'potential': {'embeddings': {'ALL': EMBEDDING}},
        # A penalty on the coefficients of the linear solution, which can be large, would be made smaller first.
        'fit': {'loss': {'kappa': KAPPA, 'L1_coeffs': 0.0, 'L2_coeffs': 0.0}},
    }
    potentials = {'one density, exact': exact['potential'], 'and a second, zero': begin}
    # `reset` keeps the functions, with all coefficients at zero.
    starts = {'both, refined': 'continue'} | ({'both, from nothing': 'reset'} if 'nothing' in sys.argv[1:] else {})
    for name, mode in starts.items():
        fitted = run(
            train,
            pace={
                'code': orm.load_code('pacemaker@localhost'),
                'yace_code': orm.load_code('pace_yaml2yace@localhost'),
                'config': orm.Dict(refinement),
                'potential': begin,
                'potential_mode': orm.Str(mode),
                **data,
            },
        )
        potentials[name] = fitted['potential']
        losses = fitted['learning_curves'].get_array('train_loss')
        print(f'\n{name}: loss {losses[0]:.4g} to {losses[-1]:.4g} in {ITERATIONS} iterations')
    print(f'\nErrors on {test.n_frames} cells that were not fitted:')
    for name, potential in potentials.items():
        report(name, potential, test)


if __name__ == '__main__':
    main()
