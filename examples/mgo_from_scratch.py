"""Magnesium oxide from nothing but a crystal structure: explored by the loop, labelled by Quantum ESPRESSO.

Run with `verdi run examples/mgo_from_scratch.py`; `aiida-pacemaker setup` makes the profile and the codes.
It needs `pip install '.[engine,qe]'`, a `pw.x`, and UPF files: those of Debian's quantum-espresso-data are looked for,
and the variable ESPRESSO_PSEUDO names another folder with Mg.pz-n-vbc.UPF and O.pz-rrkjus.UPF.

Ten rattled cells of eight atoms are calculated first. Then the loop trains, explores, has what gamma picks out
calculated by `PwBaseWorkChain`, at the level of theory of the first ten and of the isolated atoms, and trains again,
with no hand in between. The cutoffs are low, to be quick.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from aiida_pseudo.data.pseudo.upf import UpfData
from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily
from ase import Atoms
from ase.build import bulk

from aiida_pacemaker import (
    PaceActiveLearningWorkChain,
    format_table,
    frame_origin,
    loop_table,
    merge_frames,
    trajectories_from_atoms,
)
from aiida_pacemaker.provenance import levels_of

#: Give `quick` as an argument for fewer k-points, functions and steps, to see it run.
QUICK = 'quick' in sys.argv[1:]
PSEUDOS = {'Mg': 'Mg.pz-n-vbc.UPF', 'O': 'O.pz-rrkjus.UPF'}
FAMILY = 'pacemaker-mgo-lda'


def pseudo_family() -> CutoffsPseudoPotentialFamily:
    """Return the family of pseudopotentials, made of files if it is not there."""
    try:
        return orm.load_group(FAMILY)
    except NotExistent:
        source = Path(os.environ.get('ESPRESSO_PSEUDO', '/usr/share/espresso/pseudo'))
        with tempfile.TemporaryDirectory() as folder:
            for name in PSEUDOS.values():
                shutil.copy(source / name, folder)
            family = CutoffsPseudoPotentialFamily.create_from_folder(Path(folder), FAMILY, pseudo_type=UpfData)
        low = {'cutoff_wfc': 30.0, 'cutoff_rho': 240.0}
        family.set_cutoffs(dict.fromkeys(PSEUDOS, low), 'low', unit='Ry')
        return family


def pw_code() -> orm.AbstractCode:
    """Return the code of pw.x on this machine, made if it is not there."""
    try:
        return orm.load_code('pw@localhost')
    except NotExistent:
        path = shutil.which('pw.x')
        if path is None:
            raise SystemExit('There is no pw.x in the search path: `apt-get install quantum-espresso`.') from None
        return orm.InstalledCode(
            label='pw',
            computer=orm.load_computer('localhost'),
            filepath_executable=path,
            default_calc_job_plugin='quantumespresso.pw',
        ).store()


def crystal(scale: float, displacement: float, seed: int) -> Atoms:
    """Return rocksalt MgO with random displacements of a standard deviation in angstrom."""
    atoms = bulk('MgO', 'rocksalt', a=4.21 * scale, cubic=True)
    atoms.rattle(displacement, seed=seed)
    return atoms


def run(process: Any, **inputs: Any) -> Any:
    """Return the outputs of a process, which has to come to a good end."""
    outputs, node = run_get_node(process, **inputs)
    if not node.is_finished_ok:
        raise SystemExit(f'{node.process_label}<{node.pk}> failed with [{node.exit_status}] {node.exit_message}')
    return outputs


def main() -> None:
    labeller = {
        'code': pw_code(),
        'pseudo_family': orm.Str(pseudo_family().label),
        'protocol': orm.Str('fast'),
        'kpoints_distance': orm.Float(0.9 if QUICK else 0.55),
        'overrides': orm.Dict({'clean_workdir': True}),
        'options': orm.Dict({'withmpi': False, 'max_wallclock_seconds': 1800, 'resources': {'num_machines': 1}}),
        # Two cores: two calculations at a time.
        'max_concurrent': orm.Int(2),
    }
    # A basis has no more functions than there are atoms of an element: more frames, more functions.
    scales = np.linspace(0.97, 1.03, 6 if QUICK else 10)
    first = [crystal(scale, displacement=0.06, seed=seed) for seed, scale in enumerate(scales)]
    structures, _ = merge_frames(*trajectories_from_atoms(first), labelled=False)
    outputs = run(WorkflowFactory('pacemaker.label.quantumespresso'), dataset=structures, **labeller)
    dataset, _ = merge_frames(*outputs['trajectories'].values())

    python = orm.load_code('pace_python@localhost')
    exploration = {
        'job': {'pace': {'code': python}},
        'options': orm.Dict(
            {
                **{'temperature': [300.0, 1500.0], 'n_steps': 100 if QUICK else 400, 'timestep': 2.0, 'check_every': 5},
                **{'spacing': 20, 'gamma_high': 20.0, 'friction': 0.02},
            }
        ),
    }
    builder = PaceActiveLearningWorkChain.get_builder_from_protocol(
        pacemaker=orm.load_code('pacemaker@localhost'),
        pace_yaml2yace=orm.load_code('pace_yaml2yace@localhost'),
        pace_activeset=orm.load_code('pace_activeset@localhost'),
        pace_select=orm.load_code('pace_select@localhost'),
        python=python,
        dataset=dataset,
        explore={'entry_point': 'pacemaker.explore.md', 'inputs': exploration},
        label={'entry_point': 'pacemaker.label.quantumespresso', 'inputs': labeller},
        protocol='fast',
        overrides={
            # Ten cells near equilibrium do not tell more functions of the distance apart.
            'config': {'linear': {'pair_functions': 6}},
            'settings': {
                'isolated_atoms': True,
                # The last generation trains and explores, and labels nothing more.
                'max_generations': 2 if QUICK else 3,
                'frames_per_generation': 4 if QUICK else 10,
                'test_share': 0.25 if QUICK else 0.2,
                'seed_frames': 2 if QUICK else 4,
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
    print(f'Isolated atoms in eV: {loop.outputs.reference_energies.get_dict()}')
    print('\nLevels of theory of the dataset:')
    for use in levels_of(loop.outputs.dataset):
        print(f'  {use.n_frames} frames: {use.level}')
    origin = frame_origin(loop.outputs.dataset, loop.outputs.dataset.n_frames - 1)
    print(f'\nThe last frame is step {origin.step} of trajectory {origin.source.pk}, generation {origin.generation}.')
    print(f'See what was run:  verdi process status {loop.pk}')


if __name__ == '__main__':
    main()
