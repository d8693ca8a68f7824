"""Explore structures by molecular dynamics with a potential, with the Python that the engine is installed in.

Reads `explore.json`: the files of the potential and the active set, the terms of the baseline, the options, and the
runs, one for each structure of the `.npz` shards. Writes for each run `run_<number>.npz`, without pickles, and then a
line of JSON to `runs.jsonl`, so that whatever stops the job costs no more than the run that it was at; and at the very
end `exploration.json`, so that its presence says that no run was left out.
"""

import json
import os
import time

import numpy as np
import pyace
from ace_on_baseline import AceOnBaseline
from handedness import right_handed, right_handed_calculator
from journal import begin, write
from listed_baseline import ListedBaseline
from random_states import FOR_DYNAMICS, random_state
from running import run_dynamics
from structures import read_structures
from summary import versions_with, write_summary
from watching import Watch, make_seeker


def make_grader(potential, active_set):
    """Return a function that returns gamma of each atom of a structure.

    It has a calculator of its own: with an active set and hundreds of functions, a call takes twice as long.
    """
    calculator = pyace.PyACECalculator(potential)
    calculator.set_active_set(active_set)

    def grade(atoms):
        looked_at = right_handed(atoms.copy())
        looked_at.calc = calculator
        looked_at.get_potential_energy()
        return np.array(calculator.results['gamma'], dtype=float).reshape(len(atoms))

    return grade


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
    seek = make_seeker(request['unseen'])
    ace = right_handed_calculator(pyace.PyACECalculator)(request['potential'])
    calculator = AceOnBaseline(ace, ListedBaseline(request['baseline']))
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
            watch = Watch(grade, options, seek)
            random = random_state(request['seed'], run['frame'], run['copy'], FOR_DYNAMICS)
            said = run_dynamics(atoms, watch, options, random)
            save(f'run_{number:06d}.npz', watch.arrays(len(atoms)))
            write(lines, {'run': number, **said, 'n_checks': len(watch.trace), 'n_kept': len(watch.kept)})
            print('run', number, said['reason'], 'after', said['steps'], 'steps', flush=True)
    write_summary('exploration.json', start, versions_with(pyace=pyace.__version__))


if __name__ == '__main__':
    main()
