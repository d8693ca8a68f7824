"""Evaluate a potential on sets of structures, with the Python that the engine is installed in.

Reads `evaluate.json`: the files of the potential and, if gamma or error bars are wanted, of the active set and of the
posterior of its fit, which sets get error bars, and for each set of structures its tables in order. Writes
`evaluation_<label>.npz` per set, without pickles, and at the very end `evaluation.json`, so that its presence says that
all the others are complete.
"""

import json
import time

import numpy as np
import pyace
from handedness import right_handed
from summary import versions_with, write_summary
from tables import read_tables


def error_bars_of(potential, posterior):
    """Return what knows the error bars of a potential."""
    # Beside the driver only where it is needed.
    from linear.uncertainty import ErrorBars, Posterior  # noqa: PLC0415

    return ErrorBars(potential, Posterior.load(posterior))


def evaluate(calculator, tables, error_bars=None):
    """Return energy (F,), forces (A, 3), stress (F, 3, 3) and, with an active set, gamma (A,) of all structures.

    With error bars also `sigma_energy` (F,) and `sigma_forces` (A,), their standard deviations. The stress of a
    structure that is not periodic along all three axes is NaN: it is not defined there.
    """
    energy, forces, stress, gamma, sigma_energy, sigma_forces = [], [], [], [], [], []
    for atoms in map(right_handed, read_tables(tables)):
        atoms.calc = calculator
        energy.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        stress.append(atoms.get_stress(voigt=False) if atoms.pbc.all() else np.full((3, 3), np.nan))
        if 'gamma' in calculator.results:
            gamma.append(np.array(calculator.results['gamma'], dtype=float).reshape(len(atoms)))
        if error_bars is not None:
            of_energy, of_forces = error_bars.of(atoms)
            sigma_energy.append(of_energy)
            sigma_forces.append(of_forces)
    result = {
        'energy': np.array(energy, dtype=float),
        'forces': np.concatenate(forces).astype(float),
        'stress': np.array(stress, dtype=float),
    }
    if gamma:
        result['gamma'] = np.concatenate(gamma)
    if error_bars is not None:
        result |= {'sigma_energy': np.array(sigma_energy), 'sigma_forces': np.concatenate(sigma_forces)}
    return result


def main():
    """Evaluate all sets of structures."""
    start = time.time()
    with open('evaluate.json') as handle:
        request = json.load(handle)
    calculator = pyace.PyACECalculator(request['potential'])
    if request['active_set']:
        calculator.set_active_set(request['active_set'])
    error_bars = error_bars_of(request['potential'], request['posterior']) if request.get('posterior') else None
    counts = {}
    for label, tables in request['datasets'].items():
        result = evaluate(calculator, tables, error_bars if label in request.get('error_bars', ()) else None)
        np.savez('evaluation_' + label + '.npz', **result)
        counts[label] = len(result['energy'])
        print(label, counts[label], 'structures', flush=True)
    write_summary('evaluation.json', start, versions_with(pyace=pyace.__version__), counts=counts)


if __name__ == '__main__':
    main()
