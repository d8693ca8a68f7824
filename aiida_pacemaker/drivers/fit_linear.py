"""Fit a potential that is linear in its coefficients exactly, with the Python that the engine is installed in.

Reads `fit_linear.json`: the basis, what counts how much, the prior, and the tables of structures with their labels.
Writes the potential (`output_potential.yaml` and `.yace`), errors as Pacemaker writes them (`metrics.txt`,
`test_metrics.txt`), the posterior for error bars (`posterior.npz`), errors of single frames (`frame_errors.npz`), and
at the very end `linear_fit.json`, so that its presence says that all the others are complete.
"""

import hashlib
import json
import os
import subprocess
import sys
import time

import ase
import numpy as np
import pyace
import scipy
from handedness import right_handed
from linear.basis import Basis, configuration_of
from linear.collecting import Collector
from linear.equations import Equations
from linear.evidence import solve_evidence, solve_ridge
from linear.rows import Label, RowMaker
from linear.saving import TOLERANCE, largest_difference, save
from linear.validation import calibrate, cross_validate, leave_one_out
from linear.weighting import Pacemaker, Physical, loss_of
from tables import read_table

POTENTIAL, BASIS = 'output_potential', 'basis.yaml'
#: The script that keeps files for later jobs.
STAGE = 'stage.sh'
#: Relative difference of two computations of one equation, at most: processors sum up in different orders.
REPEATED = 1e-8
#: Structures of the training on which the files are compared with the equations.
CHECKED = 4
#: Read by every process of the fit.
_reference: dict[str, float] = {}


def read_labels(name):
    """Iterate over the structures of a table, and what they are fitted to."""
    if not _reference:
        with open('fit_linear.json') as handle:
            _reference.update(json.load(handle)['reference_energies'])
    table = read_table(name)
    weighted = 'w_energy' in table
    for index, atoms in enumerate(table['ase_atoms']):
        energy = float(table['energy'][index]) - sum(_reference[symbol] for symbol in atoms.get_chemical_symbols())
        stress = np.array(table['stress'][index], dtype=float) if 'stress' in table else None
        weights = None
        if weighted:
            weights = float(table['w_energy'][index]), np.array(table['w_forces'][index], dtype=float)
        label = Label(
            table['name'][index],
            energy,
            np.array(table['forces'][index], dtype=float).reshape(len(atoms), 3),
            stress if stress is not None and np.isfinite(stress).all() else None,
            weights,
        )
        yield right_handed(atoms), label


def lowest_energy(tables):
    """Return the lowest energy of all structures in eV/atom, and how many structures each table has."""
    lowest, counts = np.inf, {}
    for name in tables:
        counts[name] = 0
        for atoms, label in read_labels(name):
            counts[name] += 1
            lowest = min(lowest, label.energy / len(atoms))
    return lowest, counts


def weighting_of(request, lowest):
    """Return what counts how much."""
    given = dict(request['weighting'])
    reference = given.pop('reference')
    reference = lowest if reference is None else reference
    kind = {'physical': Physical, 'pacemaker': Pacemaker}[given.pop('kind')]
    if given.get('offsets') is not None:
        given['offsets'] = tuple(given['offsets'])
    return kind(reference=reference, **given)


def load_equations(kept, name, basis, maker, count):
    """Return the equations that an earlier fit has made of a table.

    :raises ValueError: if they cannot be read, or are not those of the table: one structure is computed again, since
        another version of the engine may have other functions or another order of them.
    """
    equations = Equations.load(kept, basis.n_functions)
    if equations.n_frames != count:
        raise ValueError(f'they are of {equations.n_frames} structures, not of {count}')
    frame = equations.frames[0]
    again = next(
        (maker.equations_of(atoms, label) for atoms, label in read_labels(name) if label.key == frame.key), None
    )
    if again is None or set(again.rows) != set(frame.rows):
        raise ValueError('they are of other structures')
    for kind, rows in frame.rows.items():
        scale = np.abs(again.rows[kind]).max(initial=1.0)
        same = rows.shape == again.rows[kind].shape and np.allclose(
            rows, again.rows[kind], rtol=0, atol=REPEATED * scale
        )
        if not same or not np.allclose(frame.weights[kind], again.weights[kind], rtol=REPEATED, atol=0):
            raise ValueError(f'the weights of the {kind} of a structure are others now')
    return equations


def keep(name):
    """Keep a file for later fits; the end of this one may not come if the time is up."""
    if os.path.exists(STAGE):
        subprocess.run(['sh', STAGE, 'keep', name], check=False)


def collect(request, basis, weighting, counts):
    """Return the equations of all tables, those of an earlier fit where they are there."""
    total, reused = Equations(basis.n_functions), 0
    maker = RowMaker(basis, weighting, virial=request['virial'])
    with Collector(
        BASIS, read_labels, weighting, virial=request['virial'], n_workers=request['n_workers']
    ) as collector:
        for name in request['train']:
            part, kept = None, request['equations'].get(name)
            if kept and os.path.exists(kept):
                try:
                    part = load_equations(kept, name, basis, maker, counts[name])
                    reused += counts[name]
                except Exception as problem:  # whatever a file that is not what it should be leads to
                    print(f'The equations of {name} are computed again: {problem}', flush=True)
            if part is None:
                part = collector.equations_of(name, counts[name], basis.n_functions)
                if kept:
                    part.save(f'{kept}.part')
                    os.replace(f'{kept}.part', kept)
                    keep(kept)
            total.merge(part)
            print(f'{name}: {counts[name]} structures', flush=True)
    return total, reused


def solve(request, basis, weighting, equations):
    """Return the solution, the scales of the kinds of equations, and the groups of functions."""
    scales = weighting.scales(equations)
    n_rows = sum(count for kind, count in equations.counts.items() if scales[kind] > 0)
    factor = equations.factor(scales)
    if request['prior'] == 'pacemaker':
        groups = np.zeros(basis.n_functions, dtype=int)
        return solve_ridge(factor, n_rows, request['penalty']), scales, groups
    groups = basis.groups(request['prior'])
    return solve_evidence(factor, n_rows, groups), scales, groups


def pairs_of(basis, equations):
    """Return the shortest distances by pairs of elements."""
    return {
        tuple(sorted((basis.elements[first], basis.elements[second]))): distance
        for (first, second), distance in equations.nearest.items()
    }


def evaluated(structures, potential):
    """Return predictions for structures, and the errors: energies per atom and force components."""
    calculator = pyace.PyACECalculator(potential)
    energies, forces, energy_errors, force_errors = [], [], [], []
    for structure, label in structures:
        atoms = structure.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        energy_errors.append((energies[-1] - label.energy) / len(atoms))
        force_errors.append((forces[-1] - label.forces).ravel())
    return np.array(energies), np.concatenate(forces), np.array(energy_errors), np.concatenate(force_errors)


def write_metrics(name, loss, errors, n_functions):
    """Write one row of a table as Pacemaker writes it; what is not known is not a number."""
    columns = {
        'ladder_step': 0,
        'cycle_step': 0,
        'iter_num': 0,
        'loss': repr(float(loss)),
        'rmse_epa': repr(float(errors['rmse_epa'])),
        'rmse_f_comp': repr(float(errors['rmse_f_comp'])),
        'mae_f_comp': repr(float(errors.get('mae_f_comp', np.nan))),
        'nfuncs': n_functions,
        'ncoefs': n_functions,
    }
    with open(name, 'w') as handle:
        handle.write(' '.join(columns) + '\n' + ' '.join(map(str, columns.values())) + '\n')


def check_files(basis, solution, tables):
    """Compare the files with the equations on a few structures.

    :raises SystemExit: if they say something else.
    """
    structures = []
    for name in tables:
        for atoms, _ in read_labels(name):
            structures.append(atoms)
            if len(structures) == CHECKED:
                break
        if len(structures) == CHECKED:
            break
    differences = largest_difference(basis, solution.coefficients, structures, POTENTIAL)
    if not differences.max() < TOLERANCE:
        for suffix in ('yaml', 'yace'):
            os.rename(f'{POTENTIAL}.{suffix}', f'refused_potential.{suffix}')
        raise SystemExit(
            f'fit_linear: the potential is not linear in its coefficients: the files differ from the equations by up '
            f'to {differences.max():.3g} of their terms. Known reasons: an embedding with an exponent other than 1, '
            'atoms so close that the density is cut off (rho_core_cut), or an inner cutoff (r_in) above the shortest '
            'distances of the data'
        )
    return float(differences.max())


def validate(equations, scales, groups, solution):
    """Return errors of frames that were left out, the calibration of error bars, and the errors of single frames."""
    report = {'n_frames': len(equations.frames), 'of': equations.n_frames}
    held_out = cross_validate(equations, scales, groups, solution)
    calibration = {}
    if held_out is not None:
        report |= {
            'rmse_energy': held_out.rmse('energy'),
            'rmse_forces': held_out.rmse('forces'),
            'rmse_virial': held_out.rmse('virial'),
        }
        for kind in ('energy', 'forces'):
            found = calibrate(held_out.residuals[kind], held_out.spreads[kind])
            calibration[kind] = None if found is None else vars(found)
    errors = leave_one_out(equations, scales, solution)
    np.savez(
        'frame_errors.npz',
        # As raw bytes: readers that take no text take these.
        name=np.array([one.key for one in errors], dtype='S64').view('V64'),
        energy=np.array([one.energy for one in errors]),
        forces=np.array([one.forces for one in errors]),
        leverage=np.array([one.leverage for one in errors]),
    )
    return report, calibration


def main():
    """Fit a potential."""
    start = time.time()
    with open('fit_linear.json') as handle:
        request = json.load(handle)
    if request['initial']:
        configuration = pyace.BBasisConfiguration(request['initial'])
    else:
        configuration = configuration_of(request['potential'], request['degree'], request['first'])
    basis = Basis.of_configuration(configuration)
    basis.functions.save(BASIS)
    print(f'{basis.n_functions} functions', flush=True)

    lowest, counts = lowest_energy(request['train'])
    weighting = weighting_of(request, lowest)
    equations, reused = collect(request, basis, weighting, counts)
    times = {'equations': time.time() - start}
    solution, scales, groups = solve(request, basis, weighting, equations)
    times['solution'] = time.time() - start - times['equations']
    errors = equations.rmse(solution.coefficients)

    nearest = pairs_of(basis, equations)
    repulsion = None if request['repulsion'] is None else (nearest, request['repulsion'])
    radii = save(basis, solution.coefficients, POTENTIAL, repulsion)
    difference = check_files(basis, solution, request['train'])
    loss = loss_of(equations.factor(scales), solution.coefficients)
    if request['prior'] == 'pacemaker':
        loss += request['penalty'] * float(solution.coefficients @ solution.coefficients)
    write_metrics(
        'metrics.txt', loss, {'rmse_epa': errors['energy'], 'rmse_f_comp': errors['forces']}, basis.n_functions
    )
    validation, calibration = validate(equations, scales, groups, solution)
    np.savez(
        'posterior.npz',
        root=solution.root,
        used=solution.used,
        scale=solution.scale,
        coefficients=solution.coefficients,
    )
    times['validation'] = time.time() - start - times['equations'] - times['solution']
    if request['predict']:
        energies, forces, _, _ = evaluated(
            (one for name in request['train'] for one in read_labels(name)), f'{POTENTIAL}.yaml'
        )
        np.savez('train_predictions.npz', energy=energies, forces=forces)
    if request['test']:
        energies, forces, energy_errors, force_errors = evaluated(
            (one for name in request['test'] for one in read_labels(name)), f'{POTENTIAL}.yaml'
        )
        found = {
            'rmse_epa': np.sqrt(np.mean(energy_errors**2)),
            'rmse_f_comp': np.sqrt(np.mean(force_errors**2)),
            'mae_f_comp': np.mean(np.abs(force_errors)),
        }
        scale = scales['energy'], scales['forces']
        loss = scale[0] ** 2 * np.sum(energy_errors**2) + scale[1] ** 2 * np.sum(force_errors**2)
        write_metrics('test_metrics.txt', loss, found, basis.n_functions)
        if request['predict']:
            np.savez('test_predictions.npz', energy=energies, forces=forces)
    summary = {
        'n_functions': dict(zip(basis.elements, np.diff(basis.starts).tolist())),
        'n_frames': equations.n_frames,
        'n_atoms': equations.n_atoms,
        'n_equations': equations.counts,
        'n_reused': reused,
        'rmse': errors,
        'noise': solution.noise,
        'precisions': solution.precisions.tolist(),
        'effective_parameters': solution.effective,
        'rounds': solution.rounds,
        'energy_reference': weighting.reference,
        'shortest_distances': {'-'.join(pair): distance for pair, distance in sorted(nearest.items())},
        'repulsion': {'-'.join(pair): radius for pair, radius in sorted(radii.items())},
        'largest_difference': difference,
        'cross_validation': validation,
        'calibration': calibration,
        'coefficients_sha256': hashlib.sha256(solution.coefficients.tobytes()).hexdigest(),
        'times': times,
        'seconds': time.time() - start,
        'versions': {
            'pyace': pyace.__version__,
            'numpy': np.__version__,
            'scipy': scipy.__version__,
            'ase': ase.__version__,
            'python': sys.version.split()[0],
        },
    }
    with open('linear_fit.json', 'w') as handle:
        json.dump(summary, handle, indent=1)


if __name__ == '__main__':
    main()
