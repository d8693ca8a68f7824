"""The core of the engine in fits that follow each other, with bonds that are shorter each time."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from small_fits import COARSE

from aiida_pacemaker.baseline.distances import shortest_distances
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.frames.ase_io import from_atoms
from aiida_pacemaker.pace.output.potentials import blocks_of_pairs

pytestmark = pytest.mark.engine


def cells(lattice_constant: float, seed: int):
    """Return labelled cells of copper around a lattice constant."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(4):
        atoms = bulk('Cu', cubic=True, a=lattice_constant * (1 + rng.uniform(-0.02, 0.02)))
        atoms.rattle(0.05, seed=10 * seed + number)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        images.append(atoms)
    return images


@pytest.mark.slow
def test_a_core_follows_the_data_of_three_generations(run_job, pace_codes):
    baseline = DeltaBaseline.for_elements(['Cu'], mode='core').model_dump(mode='json')
    short = {'elements': ['Cu'], 'evaluator': 'pyace', 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2, 'potential': COARSE}
    images, potential = [], {}
    for generation, (lattice_constant, mode) in enumerate([(3.6, None), (3.3, 'continue'), (3.0, 'extend')]):
        images += cells(lattice_constant, generation)
        dataset = PaceDatasetData(from_atoms(images, 'copper')).store()
        inputs = {
            'code': pace_codes['train'],
            'dataset': dataset,
            'config': {**short, 'max_deg': 4 if mode == 'extend' else 3},
            'baseline': baseline,
            'reference_energies': {'Cu': 0.0},
            'max_epochs': 25,
        }
        node = run_job('pacemaker.train', **inputs, **potential, **({'potential_mode': mode} if mode else {}))
        assert node.is_finished_ok, node.exit_message
        potential = {'potential': node.outputs.potential}
        block = blocks_of_pairs(node.outputs.potential.get_b_basis())['Cu', 'Cu']
        nearest = shortest_distances(dataset.get_frames(), 4.0)['Cu', 'Cu']
        assert (block['inner_cutoff_type'], float(block['r_in'])) == ('zbl', pytest.approx(nearest, abs=1e-3))
    fresh = run_job('pacemaker.train', **inputs)
    assert fresh.is_finished_ok, fresh.exit_message
    errors = [one.outputs.metrics['rmse_energy'] for one in (node, fresh)]
    # Where the core of an earlier generation stays, it is ten electronvolts.
    assert errors[0] < max(2 * errors[1], 0.03), errors
    # What was predicted while fitting is what the potential says.
    atoms = images[-1]
    expected, calculator = atoms.get_potential_energy(), node.outputs.potential.to_ase()
    moved = atoms.copy()
    moved.calc = calculator
    assert abs(moved.get_potential_energy() - expected) / 4 < 0.2
