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
import time
from heapq import nsmallest
from itertools import islice

import numpy as np
import pyace
import scipy
from handedness import right_handed
from linear.basis import Basis, configuration_of
from linear.choosing import Candidate, best_of, try_bases
from linear.collecting import Collector, leaves_out
from linear.equations import Equations
from linear.evidence import solve_evidence, solve_ridge
from linear.hull import hull_energies
from linear.repulsion import take_back_repulsion
from linear.rows import Label
from linear.saving import TOLERANCE, largest_difference, reasons_of, save
from linear.validation import calibrate, cross_validate, leave_one_out
from linear.weighting import Pacemaker, Physical, formula_of, loss_of
from summary import versions_with, write_summary
from tables import read_table

POTENTIAL, BASIS = 'output_potential', 'basis.yaml'
#: The script that keeps files for later jobs.
STAGE = 'stage.sh'
#: Structures of the training on which the files are compared with the equations.
CHECKED = 4
#: Structures, at most, of a cross-validation to choose the basis by.
TRIED = 200
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


def structures_of(tables):
    """Iterate over the structures of tables, and what they are fitted to, one table in memory at a time."""
    for name in tables:
        yield from read_labels(name)


def lowest_energies(tables):
    """Return the lowest energy in eV/atom of the structures of each reduced formula."""
    lowest: dict[str, float] = {}
    for atoms, label in structures_of(tables):
        formula, energy = formula_of(atoms), label.energy / len(atoms)
        lowest[formula] = min(energy, lowest.get(formula, energy))
    return lowest


def weighting_of(request):
    """Return what counts how much.

    Where no reference is given, it is the lowest energy of the training; for the energy-based weights of Pacemaker, the
    convex hull (or the lowest energy) of training and test together, as there.
    """
    given = dict(request['weighting'])
    if given.pop('kind') == 'physical':
        if given['reference'] is None:
            # Not read where it does not count.
            lowest = [0.0] if given['scale'] is None else lowest_energies(request['train']).values()
            given['reference'] = min(lowest)
        return Physical(**given)
    origin = given.pop('energy', 'convex_hull')
    if given['offsets'] is None:
        given.update(reference=0.0, upper=None)
    else:
        given['offsets'] = tuple(given['offsets'])
        given.setdefault('upper', 10.0)
        if given['reference'] is None:
            lowest = lowest_energies(request['train'] + request['test'])
            several = origin == 'convex_hull' and len(lowest) > 1
            given['reference'] = hull_energies(lowest) if several else min(lowest.values())
    return Pacemaker(**given)


def choose(request, weighting):
    """Choose the basis by cross-validation over structures, if there is a choice, and return what was tried."""
    candidates = [
        Candidate(one['potential'], one['degrees'], one['pair_functions']) for one in request.get('candidates', ())
    ]
    if not candidates:
        return None
    # Those with the smallest hashes: a sample that does not depend on the order of the frames.
    structures = nsmallest(TRIED, structures_of(request['train']), key=lambda one: one[1].key)
    tried = try_bases(candidates, structures, weighting, request['prior'], virial=request['virial'])
    best = best_of(tried)
    chosen = candidates[best.candidate]
    request.update(potential=chosen.potential, degree=best.degree, first=chosen.first(best.degree))
    table = []
    for one in tried:
        bond = candidates[one.candidate].potential['bonds']['ALL']
        table.append({'radbase': bond['radbase'], 'r_cut': bond['rcut'], **vars(one), 'chosen': one is best})
        print(
            f'{bond["radbase"]} {bond["rcut"]} angstrom, degree {one.degree}: {one.n_functions} functions, '
            f'{1000 * one.rmse_energy:.1f} meV/atom, {1000 * one.rmse_forces:.1f} meV/angstrom',
            flush=True,
        )
    return {'n_frames': len(structures), 'bases': table}


def frame_weights(weighting):
    """Return what the weights of frames and atoms follow from; all else acts on the kinds of equations alone."""
    found = {name: vars(weighting).get(name) for name in ('scale', 'offsets', 'reference', 'upper')}
    if found['scale'] is None and found['offsets'] is None:
        found['reference'] = None
    return [type(weighting).__name__, found]


def signature_of(name, request, weighting):
    """Return a hash of all that the equations of a table follow from."""
    others = [frame_weights(weighting), request['virial'], request['reference_energies'], pyace.__version__]
    found = hashlib.sha256(json.dumps(others, sort_keys=True).encode())
    for path in (name, BASIS):
        with open(path, 'rb') as handle:
            found.update(hashlib.sha256(handle.read()).digest())
    return found.hexdigest()


def keep(name):
    """Keep a file for later fits; the end of this one may not come if its time is up."""
    if os.path.exists(STAGE):
        subprocess.run(['sh', STAGE, 'keep', name], check=False)


def collect(request, basis, weighting):
    """Return the equations of all tables, those of an earlier fit where they are there."""
    total, reused = Equations(basis.n_functions), 0
    with Collector(
        BASIS, read_labels, weighting, virial=request['virial'], n_workers=request['n_workers']
    ) as collector:
        for name in request['train']:
            part, kept = None, request['equations'].get(name)
            signature = signature_of(name, request, weighting) if kept else ''
            if kept and os.path.exists(kept):
                try:
                    part = Equations.load(kept, basis.n_functions, signature)
                    reused += part.n_frames
                except ValueError as problem:
                    print(f'The equations of {name} are computed again: {problem}', flush=True)
            if part is None:
                part = collector.equations_of(name, len(read_table(name)['ase_atoms']), basis.n_functions)
                if kept:
                    part.save(kept, signature)
                    keep(kept)
            total.merge(part)
            print(f'{name}: {part.n_frames} structures', flush=True)
    return total, reused


def solve(request, basis, weighting, equations):
    """Return the solution, its loss without a penalty, the scales of the equations, and the groups of functions."""
    scales = weighting.scales(equations.weights, equations.counts)
    n_rows, factor = equations.n_used(scales), equations.factor(scales)
    if request['prior'] == 'pacemaker':
        groups = np.zeros(basis.n_functions, dtype=int)
        solution = solve_ridge(factor, n_rows, request['penalty'])
    else:
        groups = basis.groups(request['prior'])
        solution = solve_evidence(factor, n_rows, groups)
    return solution, loss_of(factor, solution.coefficients), scales, groups


def pairs_of(basis, equations):
    """Return the shortest distances by pairs of elements."""
    return {
        tuple(sorted((basis.elements[first], basis.elements[second]))): distance
        for (first, second), distance in equations.nearest.items()
    }


def evaluated(structures, potential, weighting):
    """Return predictions for structures, energies and forces, and the errors of those that the weighting takes.

    The loss of the errors is that of a fit to these structures alone.
    """
    calculator = pyace.PyACECalculator(potential)
    energies, forces = [], []
    errors: dict[str, list[np.ndarray]] = {'energy': [], 'forces': []}
    weights: dict[str, list[np.ndarray]] = {'energy': [], 'forces': [], 'virial': []}
    for structure, label in structures:
        atoms = structure.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        if leaves_out(weighting, atoms, label):
            continue
        errors['energy'].append(np.array([(energies[-1] - label.energy) / len(atoms)]))
        errors['forces'].append((forces[-1] - label.forces).ravel())
        weight, of_atoms = weighting.of_frame(label.energy / len(atoms), label.forces, formula_of(atoms), label.weights)
        weights['energy'].append(np.array([weight]))
        weights['forces'].append(np.repeat(of_atoms, 3))
    residuals = {kind: np.concatenate(parts) for kind, parts in errors.items()}
    of_rows = {kind: np.concatenate([np.zeros(0), *parts]) for kind, parts in weights.items()}
    sums = {kind: float(values.sum()) for kind, values in of_rows.items()}
    scales = weighting.scales(sums, {kind: len(values) for kind, values in of_rows.items()})
    found = {
        'rmse_epa': np.sqrt(np.mean(residuals['energy'] ** 2)),
        'rmse_f_comp': np.sqrt(np.mean(residuals['forces'] ** 2)),
        'mae_f_comp': np.mean(np.abs(residuals['forces'])),
        'loss': sum(scales[kind] ** 2 * float(of_rows[kind] @ values**2) for kind, values in residuals.items()),
    }
    return np.array(energies), np.concatenate(forces), found


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
    # So that little is read.
    smallest_first = sorted(tables, key=os.path.getsize)
    structures = [atoms for atoms, _ in islice(structures_of(smallest_first), CHECKED)]
    differences = largest_difference(basis, solution.coefficients, structures, POTENTIAL)
    if not differences.max() < TOLERANCE:
        for suffix in ('yaml', 'yace'):
            os.rename(f'{POTENTIAL}.{suffix}', f'refused_potential.{suffix}')
        reasons = reasons_of(basis, structures, 'refused_potential') or ['the reason is not known']
        raise SystemExit(
            'fit_linear: the potential is not linear in its coefficients: the files differ from the equations by up '
            f'to {differences.max():.3g} of their terms: ' + '; '.join(reasons)
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


def calibration_of(calibration):
    """Return factor and offset of the error bars of energies and forces, shape (2, 2); NaN where there are none."""
    nothing = {'factor': np.nan, 'offset': np.nan}
    found = [calibration.get(kind) or nothing for kind in ('energy', 'forces')]
    return np.array([[one['factor'], one['offset']] for one in found], dtype=float)


def main():
    """Fit a potential."""
    start = time.time()
    with open('fit_linear.json') as handle:
        request = json.load(handle)
    weighting = weighting_of(request)
    tried = choose(request, weighting)
    times = {'choice': time.time() - start}
    if request['initial']:
        configuration = pyace.BBasisConfiguration(request['initial'])
    else:
        configuration = configuration_of(request['potential'], request['degree'], request['first'])
    if request['repulsion'] is not None:
        # It is set anew, from these data.
        take_back_repulsion(configuration)
    basis = Basis.of_configuration(configuration)
    basis.functions.save(BASIS)
    print(f'{basis.n_functions} functions', flush=True)

    equations, reused = collect(request, basis, weighting)
    times['equations'] = time.time() - start - sum(times.values())
    try:
        solution, loss, scales, groups = solve(request, basis, weighting, equations)
    except ValueError as problem:
        raise SystemExit(f'fit_linear: {problem}') from problem
    times['solution'] = time.time() - start - sum(times.values())
    errors = equations.rmse(solution.coefficients)

    nearest = pairs_of(basis, equations)
    repulsion = None if request['repulsion'] is None else (nearest, request['repulsion'])
    try:
        radii, dips = save(basis, solution.coefficients, POTENTIAL, repulsion)
    except ValueError as problem:
        raise SystemExit(f'fit_linear: {problem}') from problem
    difference = check_files(basis, solution, request['train'])
    penalty = 0.0
    if request['prior'] == 'pacemaker':
        penalty = request['penalty'] * float(solution.coefficients @ solution.coefficients)
    write_metrics(
        'metrics.txt',
        loss + penalty,
        {'rmse_epa': errors['energy'], 'rmse_f_comp': errors['forces']},
        basis.n_functions,
    )
    validation, calibration = validate(equations, scales, groups, solution)
    np.savez(
        'posterior.npz',
        root=solution.root,
        used=solution.used,
        scale=solution.scale,
        coefficients=solution.coefficients,
        calibration=calibration_of(calibration),
        precisions=np.array([scales[kind] / solution.noise for kind in ('energy', 'forces', 'virial')]),
    )
    times['validation'] = time.time() - start - sum(times.values())
    if request['predict']:
        energies, forces, _ = evaluated(structures_of(request['train']), f'{POTENTIAL}.yaml', weighting)
        np.savez('train_predictions.npz', energy=energies, forces=forces)
    if request['test']:
        energies, forces, found = evaluated(structures_of(request['test']), f'{POTENTIAL}.yaml', weighting)
        write_metrics('test_metrics.txt', found['loss'] + penalty, found, basis.n_functions)
        if request['predict']:
            np.savez('test_predictions.npz', energy=energies, forces=forces)
    report = {
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
        'dips': {'-'.join(pair): vars(dip) for pair, dip in sorted(dips.items())},
        'largest_difference': difference,
        'tried': tried,
        'cross_validation': validation,
        'calibration': calibration,
        'coefficients_sha256': hashlib.sha256(solution.coefficients.tobytes()).hexdigest(),
        'times': times,
    }
    write_summary('linear_fit.json', start, versions_with(pyace=pyace.__version__, scipy=scipy.__version__), **report)


if __name__ == '__main__':
    main()
