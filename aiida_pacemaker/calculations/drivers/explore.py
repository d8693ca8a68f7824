"""Explore structures by molecular dynamics with a potential, with the Python that the engine is installed in.

Reads `explore.json`: the files of the potential and the active set, the terms of the baseline, the options, and the
runs, one for each structure of the `.npz` shards. Writes for each run `run_<number>.npz`, without pickles, and then a
line of JSON to `runs.jsonl`, so that whatever stops the job costs no more than the run that it was at; and at the very
end `exploration.json`, so that its presence says that no run was left out.
"""

import contextlib
import json
import os
import sys
import time
import traceback

import ase
import numpy as np
import pyace
from ace_on_baseline import AceOnBaseline
from dynamics import check_sanity, give_velocities, make_dynamics, random_state, scheduled, set_conditions
from journal import begin, write
from structures import read_structures
from watching import Watch


def make_grader(potential, active_set):
    """Return a function that returns gamma of each atom of a structure.

    It has a calculator of its own: with an active set, one call takes up to four times as long.
    """
    calculator = pyace.PyACECalculator(potential)
    calculator.set_active_set(active_set)

    def grade(atoms):
        looked_at = atoms.copy()
        looked_at.calc = calculator
        looked_at.get_potential_energy()
        return np.array(calculator.results['gamma'], dtype=float).reshape(len(atoms))

    return grade


def explore(atoms, watch, options, random):
    """Run the dynamics of one structure, and return why it ended, after how many steps, and what there is to say."""
    step, volume = 0, abs(np.linalg.det(atoms.cell[:]))
    steady = options['temperatures'][:1] if options['ensemble'] == 'nve' else options['temperatures']
    try:
        give_velocities(atoms, options['temperatures'][0], random)
        dynamics = make_dynamics(atoms, options, random)
        reason = watch.check(step, atoms, steady[0])
        while reason is None and step < options['n_steps']:
            set_conditions(dynamics, options, step)
            dynamics.step()
            step += 1
            check_sanity(atoms, volume)
            if step % options['check_every'] == 0 or step == options['n_steps']:
                reason = watch.check(step, atoms, scheduled(steady, step, options['n_steps']))
            else:
                watch.remember(step, atoms)
    except Exception as exception:  # whatever is raised is the reason why this run failed
        traceback.print_exc()
        with contextlib.suppress(Exception):
            watch.look_back(atoms)
        return {'reason': 'failed', 'steps': step, 'message': f'{type(exception).__name__}: {exception}'[:500]}
    return {'reason': reason or 'finished', 'steps': step, 'message': ''}


def save(name, arrays):
    """Write a file that is either whole or not there."""
    with open(name + '.part', 'wb') as handle:
        np.savez(handle, **arrays)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(name + '.part', name)


def main():
    """Do all runs; one that fails does not keep the others from being done."""
    start = time.time()
    with open('explore.json') as handle:
        request = json.load(handle)
    options = request['options']
    grade = make_grader(request['potential'], request['active_set'])
    calculator = AceOnBaseline(pyace.PyACECalculator(request['potential']), request['baseline'])
    with open('runs.jsonl', 'a') as lines:
        done = begin(lines, 'run')
        for number, atoms in enumerate(read_structures(request['shards'])):
            if number in done:
                continue
            run = request['runs'][number]
            write(lines, {'begin': number})
            atoms.calc = calculator
            calculator.reset()
            calculator.baseline.listed = None
            watch = Watch(grade, options)
            said = explore(atoms, watch, options, random_state(request['seed'], run['frame'], run['copy']))
            save(f'run_{number:06d}.npz', watch.arrays(len(atoms)))
            write(lines, {'run': number, **said, 'n_checks': len(watch.trace), 'n_kept': len(watch.kept)})
            print('run', number, said['reason'], 'after', said['steps'], 'steps', flush=True)
    summary = {
        'seconds': time.time() - start,
        'versions': {
            'pyace': pyace.__version__,
            'numpy': np.__version__,
            'ase': ase.__version__,
            'python': sys.version.split()[0],
        },
    }
    with open('exploration.json', 'w') as handle:
        json.dump(summary, handle)


if __name__ == '__main__':
    main()
