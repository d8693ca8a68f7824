"""Copper from five frames: the loop finds all others itself and has them labelled by the EMT potential of ASE.

Run with `verdi run examples/copper_from_five_frames.py`; `aiida-pacemaker setup` makes the profile and the codes.

Each generation explores with the potential of that time, by molecular dynamics that gamma watches over, has the most
informative frames labelled, and trains again. At the end the potential is put to the test: 5,000 steps at 600 K without
an alarm of gamma, the drift of the energy, and the equation of state against that of EMT, which stands in for DFT.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase import Atoms, units
from ase.build import bulk
from ase.eos import EquationOfState

from aiida_pacemaker import (
    PaceActiveLearningWorkChain,
    PaceDatasetData,
    format_table,
    loop_table,
    merge_frames,
    trajectories_from_atoms,
)

#: Lattice constants over that of EMT at rest, for the equation of state.
SCALES = np.linspace(0.97, 1.03, 9)
#: A run in the final test is stopped beyond this gamma. Exact fits have many functions, and gamma rises soon beyond 1
#: where the forces are still right to some meV/angstrom.
ALARM = 10.0


def crystal(scale: float = 1.0, displacement: float = 0.0, seed: int = 0) -> Atoms:
    """Return 32 atoms of copper, with random displacements of a standard deviation in angstrom."""
    atoms = bulk('Cu', a=3.61 * scale, cubic=True) * (2, 2, 2)
    atoms.rattle(displacement, seed=seed)
    return atoms


def unlabelled(images: list[Atoms]) -> PaceDatasetData:
    """Return structures as a dataset without labels."""
    dataset, _ = merge_frames(*trajectories_from_atoms(images), labelled=False)
    return dataset


def run(process: Any, **inputs: Any) -> Any:
    """Return the outputs of a process, which has to come to a good end."""
    outputs, node = run_get_node(process, **inputs)
    if not node.is_finished_ok:
        raise SystemExit(f'{node.process_label}<{node.pk}> failed with [{node.exit_status}] {node.exit_message}')
    return outputs


def main() -> None:
    python = orm.load_code('pace_python@localhost')
    labeller = {'code': python, 'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT'})}

    def labelled(images: list[Atoms]) -> PaceDatasetData:
        outputs = run(WorkflowFactory('pacemaker.label.ase'), dataset=unlabelled(images), **labeller)
        dataset, _ = merge_frames(*outputs['trajectories'].values())
        return dataset

    five = [crystal(scale, displacement=0.05, seed=seed) for seed, scale in enumerate((0.97, 0.985, 1.0, 1.015, 1.03))]
    exploration = {
        'job': {'pace': {'code': python}},
        'options': orm.Dict({'n_steps': 300, 'timestep': 5.0, 'check_every': 5, 'spacing': 50, 'gamma_high': 8.0}),
        'conditions': {
            'warm': orm.Dict({'temperature': [300.0, 900.0], 'friction': 0.02}),
            'hot': orm.Dict({'temperature': 1200.0, 'friction': 0.02}),
            'squeezed': orm.Dict({'ensemble': 'npt', 'pressure': [-5.0, 15.0]}),
        },
    }
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=orm.load_code('pacemaker@localhost'),
        pace_activeset=orm.load_code('pace_activeset@localhost'),
        pace_select=orm.load_code('pace_select@localhost'),
        python=python,
        dataset=labelled(five),
        explore={'entry_point': 'pacemaker.explore.md', 'inputs': exploration},
        label={'entry_point': 'pacemaker.label.ase', 'inputs': labeller},
        protocol='fast',
        overrides={
            'settings': {
                'isolated_atoms': True,
                'max_generations': 5,
                'frames_per_generation': 10,
                'test_share': 0.2,
                'seed_frames': 3,
                # Beyond its first few frames the loop need not know everything at 1,200 K.
                'gamma_quantile': 'p99',
            },
        },
    )
    _, loop = run_get_node(builder)
    if 'report' in loop.outputs:
        print('\nErrors in meV/atom and meV/Å, γ of all that was explored:\n')
        print(format_table(loop_table(loop)))
    if not loop.is_finished_ok:
        raise SystemExit(f'The loop failed with [{loop.exit_status}] {loop.exit_message}')
    report = loop.outputs.report.get_dict()
    print(f'\nStopped: {report["stop_reason"]}. {report["stop_message"]}')
    print('What gamma was worth:', *report['calibration']['text'], sep='\n  ')

    potential, active_set = loop.outputs.potential, loop.outputs.active_set
    put_to_the_test(potential, active_set, python)
    compare_equations_of_state(potential, labelled([crystal(scale) for scale in SCALES]), python)
    print(f'\nSee what was run:  verdi process status {loop.pk}')


def put_to_the_test(potential: orm.Data, active_set: orm.Data, python: orm.AbstractCode) -> None:
    """Run 5,000 steps at 600 K, with a thermostat and without, and report gamma and the drift of the energy."""
    outputs = run(
        WorkflowFactory('pacemaker.explore.md'),
        potential=potential,
        active_set=active_set,
        initial_structures=unlabelled([crystal()]),
        random_seed=2026,
        options={'n_steps': 5000, 'timestep': 2.0, 'check_every': 10, 'gamma_low': ALARM - 0.01, 'gamma_high': ALARM},
        conditions={
            # Half of the kinetic energy that a crystal at rest is given becomes potential energy.
            'nve': orm.Dict({'ensemble': 'nve', 'temperature': 1200.0}),
            'nvt': orm.Dict({'ensemble': 'nvt', 'temperature': 600.0}),
        },
        job={'pace': {'code': python}},
    )
    print(f'\nMolecular dynamics, alarm at γ > {ALARM:g}:')
    traces = {name: outputs['traces'].get_array(name) for name in outputs['traces'].get_arraynames()}
    for one in outputs['report']['runs']:
        rows = traces['run'] == one['run']
        temperature, energy = traces['temperature'][rows], traces['energy'][rows]
        mean = temperature[len(temperature) // 2 :].mean()
        print(
            f'  {one["condition"]}: {one["steps"]} steps, {one["reason"]}, largest γ {one["gamma_max"]:.2f}, '
            f'{mean:.0f} K in the second half'
        )
        if one['condition'] == 'nve':
            time, total = traces['time'][rows] / 1000, energy + 1.5 * units.kB * temperature
            line = np.polyfit(time, total, 1)
            noise = (total - np.polyval(line, time)).std()
            print(
                f'  energy: drift {1000 * line[0]:+.4f} meV/atom per ps, fluctuation {1000 * noise:.4f} meV/atom, over '
                f'{time[-1]:.0f} ps'
            )
        if one['reason'] != 'finished':
            raise SystemExit('The run was broken off: the potential is not good enough.')


def compare_equations_of_state(potential: orm.Data, reference: PaceDatasetData, python: orm.AbstractCode) -> None:
    """Compare lattice constant, bulk modulus and energies with those of the labels."""
    outputs = run(
        CalculationFactory('pacemaker.evaluate'), code=python, potential=potential, datasets={'eos': reference}
    )
    frames = reference.get_frames()
    volumes = np.abs(np.linalg.det(frames.cells)) / 32
    curves = {'EMT': frames.energy / 32, 'ACE': outputs['evaluations']['eos'].get_array('energy') / 32}
    print('\nEquation of state:')
    for name, energies in curves.items():
        volume, _, modulus = EquationOfState(volumes, energies, eos='birchmurnaghan').fit()
        print(f'  {name}: a = {(4 * volume) ** (1 / 3):.4f} Å, B = {modulus / units.GPa:.1f} GPa')
    print(f'  largest difference of the energies: {1000 * np.abs(curves["ACE"] - curves["EMT"]).max():.2f} meV/atom')


if __name__ == '__main__':
    main()
