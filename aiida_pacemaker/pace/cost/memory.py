"""How much memory the engine's programs will need, told before they are submitted.

The coefficients were fitted to the largest resident size of the real programs (python-ace 0.4.0rc1, TensorFlow 2.20 on
a CPU) on structures of MgO, without predictions and plots at the end of a fit. From 0.2 to 3 GB, predictions are 0.85
to 1.1 times what was measured, see ``benchmarks/memory.py``. What depends on the data or on the course of a fit is left
out, so that they err on the low side: predictions and plots (25 to 75 MB), what `pacemaker` keeps of each evaluation of
the loss with the evaluator `pyace`, and in the search for an active set the splines of the potential and, in batches,
the atoms that extrapolate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from aiida_pacemaker.pace.config.options import ActiveSetOptions, MaxVolOptions, SelectOptions
from aiida_pacemaker.pace.config.potential_checks import bonds_of, resolve
from aiida_pacemaker.pace.cost.basis_size import RadialSize, count_factors, count_functions, radial_sizes
from aiida_pacemaker.pace.cost.survey import Survey

#: A job is hopeless if it is predicted to need more than so many times the memory that was asked for. Predictions were
#: up to 1.1 times too high where they were measured; the rest is for machines, libraries and data that differ.
REFUSAL_FACTOR = 1.5

_FLOAT = 8
#: Imported libraries.
_PYACE, _TENSORPOT, _MAXVOL, _LINEAR = 190_000_000, 930_000_000, 150_000_000, 130_000_000
#: A process of ``parallel_mode: process``, most of whose memory is shared.
_WORKER = 35_000_000
#: A structure: its object, its arrays and its row of the table.
_FRAME = 12_000
#: A neighbour in the lists of the engine's own evaluator, and in those of TensorFlow with their copies in batches.
_NEIGHBOUR, _TENSORPOT_NEIGHBOUR = 19, 100
#: A basis function in the graph of TensorFlow.
_FUNCTION = 90_000
#: Copies of the radial splines: the basis of functions B and, for `pyace`, two made of it with the coefficients.
_PYACE_SPLINES, _TENSORPOT_SPLINES = 3.3, 2.0
#: A cubic spline has four coefficients in each bin.
_BIN = 4 * _FLOAT
#: Numbers kept for the gradient of the loss, which is a second derivative, for each number of a neighbour and for
#: each factor of the basis of an atom.
_NEIGHBOUR_TAPE, _FACTOR_TAPE = 3.5 * _FLOAT, 10 * _FLOAT
#: Square matrices that BFGS of SciPy holds at once.
_BFGS_MATRICES = 6
#: Square matrices of an exact linear fit: equations kept row by row, triangular factors, and what is made of them.
_LINEAR_MATRICES = 10
#: MaxVol works on three copies of the projections of an element.
_MAXVOL_COPIES = 3


@dataclass(frozen=True)
class MemoryEstimate:
    """The largest amount of memory that a program needs at once, by its causes, in bytes.

    :param program: the program itself and its libraries.
    :param structures: structures and lists of neighbours.
    :param basis: the basis functions.
    :param working: what is computed at once: the tensors of a batch, which are on the GPU where there is one, or the
        projections of atoms on basis functions.
    :param optimizer: matrices of the optimizer.
    """

    program: int
    structures: int
    basis: int
    working: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(astuple(self))


def predict_training_memory(sections: Mapping[str, Any], survey: Survey) -> MemoryEstimate:
    """Predict the memory of a fit by `pacemaker`.

    :param sections: :meth:`~aiida_pacemaker.pace.config.trainer_config.TrainerConfig.sections` of its configuration.
    :param survey: of all frames, those of the test set included, for the cutoff of the configuration.
    """
    potential, fit, backend = sections['potential'], sections['fit'], sections['backend']
    radial = radial_sizes(potential)
    functions = count_functions(potential)
    n_coefficients = sum(
        n * resolve(potential['embeddings'], (element,))['ndensity'] for element, n in functions.items()
    )
    n_radial = sum(
        size.nradbase * size.nradmax * (size.lmax + 1) for (one, other), size in radial.items() if one <= other
    )
    structures = _FRAME * survey.n_frames
    splines = _spline_bytes(potential, radial)
    if backend['evaluator'] == 'pyace':
        n_parameters = _count_trainable(fit.get('trainable_parameters', 'ALL'), n_coefficients, n_radial)
        workers = backend.get('n_workers', 1) if backend.get('parallel_mode') == 'process' else 0
        return MemoryEstimate(
            program=_PYACE + workers * _WORKER,
            structures=structures + _NEIGHBOUR * survey.n_neighbours,
            basis=round(_PYACE_SPLINES * splines),
            working=0,
            optimizer=_optimizer_bytes(fit['optimizer'], n_parameters),
        )
    batch = min(1.0, backend.get('batch_size', 10) / max(1, survey.n_frames))
    factors = count_factors(potential)
    nradbase, nradmax, lmax = (max(sizes) for sizes in zip(*radial.values(), strict=True))
    # Real and imaginary parts of spherical harmonics, alone and times each radial function.
    per_neighbour = nradbase + 2 * (nradmax + 1) * (lmax + 1) ** 2
    neighbour_tape = _NEIGHBOUR_TAPE * per_neighbour * survey.n_neighbours
    factor_tape = _FACTOR_TAPE * sum(n * survey.atoms.get(element, 0) for element, n in factors.items())
    return MemoryEstimate(
        program=_TENSORPOT,
        structures=structures + _TENSORPOT_NEIGHBOUR * survey.n_neighbours,
        basis=round(_TENSORPOT_SPLINES * splines) + _FUNCTION * sum(functions.values()),
        working=round(batch * (neighbour_tape + factor_tape)),
        # It optimizes all parameters, and holds those that are not to be fitted with a gradient of zero.
        optimizer=_optimizer_bytes(fit['optimizer'], n_coefficients + n_radial),
    )


def predict_linear_memory(sections: Mapping[str, Any], survey: Survey, n_functions: int) -> MemoryEstimate:
    """Predict the memory of an exact linear fit, which does not grow with its equations.

    :param sections: of the configuration, as for :func:`predict_training_memory`.
    :param survey: of all frames, those of the test set included, for the cutoff of the configuration.
    :param n_functions: basis functions of all elements.
    """
    potential = sections['potential']
    n_workers = sections['backend'].get('n_workers', 1)
    matrices = _LINEAR_MATRICES * _FLOAT * n_functions**2
    return MemoryEstimate(
        program=_LINEAR * (n_workers if n_workers == 1 else n_workers + 1),
        structures=_FRAME * survey.n_frames,
        # Fewer functions are what makes the matrices smaller.
        basis=round(_TENSORPOT_SPLINES * _spline_bytes(potential, radial_sizes(potential))) + matrices,
        working=0,
        optimizer=0,
    )


def predict_active_set_memory(
    survey: Survey, n_functions: Mapping[str, int], n_densities: Mapping[str, int], options: ActiveSetOptions
) -> MemoryEstimate:
    """Predict the memory of `pace_activeset`.

    Without a batch size or a memory limit, all projections are taken to be in memory at once. The program does so if it
    finds enough free memory on the machine, however little of it was asked for.

    :param survey: of the frames, for the cutoff of the potential.
    :param n_functions: basis functions around an atom of each element, of
        :class:`~aiida_pacemaker.pace.output.potentials.PotentialSummary` or of
        :func:`~aiida_pacemaker.pace.cost.basis_size.count_functions`.
    :param n_densities: atomic densities of each element: the kind ``full`` has a column for each function and density.
    :param options: of the program.
    """
    full = options.kind == 'full'
    sizes = {element: n * (n_densities[element] if full else 1) for element, n in n_functions.items()}
    # Atoms with a large force error are left out by copying all others.
    copies = 1 if options.all_atoms else 2
    return _maxvol_memory(survey, sizes, copies, options)


def predict_selection_memory(survey: Survey, n_functions: Mapping[str, int], options: SelectOptions) -> MemoryEstimate:
    """Predict the memory of `pace_select`, as :func:`predict_active_set_memory` does.

    :param survey: of the candidates, for the cutoff of the potential.
    :param n_functions: basis functions around an atom of each element.
    :param options: of the program.
    """
    return _maxvol_memory(survey, n_functions, 1, options)


def _maxvol_memory(survey: Survey, sizes: Mapping[str, int], copies: int, options: MaxVolOptions) -> MemoryEstimate:
    projections = [_FLOAT * survey.atoms.get(element, 0) * size for element, size in sizes.items()]
    active_sets = [_FLOAT * size**2 for size in sizes.values()]
    n_batches = _count_batches(survey.n_frames, sum(projections), sum(active_sets), options)
    if n_batches == 1:
        working = max(copies * sum(projections), sum(projections) + _MAXVOL_COPIES * max(projections))
    else:
        batch = [one // n_batches for one in projections]
        # The best rows so far are stacked on those of a batch.
        stacked = [one + other for one, other in zip(batch, active_sets, strict=True)]
        working = sum(batch) + sum(stacked) + _MAXVOL_COPIES * max(stacked)
    return MemoryEstimate(
        program=_MAXVOL,
        structures=_FRAME * survey.n_frames + _NEIGHBOUR * survey.n_neighbours,
        basis=sum(active_sets),
        working=working,
        optimizer=0,
    )


def _count_batches(n_frames: int, projections: int, active_sets: int, options: MaxVolOptions) -> int:
    if options.batch_size is not None:
        return max(1, n_frames // options.batch_size)
    if options.memory_limit is None:
        return 1
    limit = int(options.memory_limit[:-2]) * {'MB': 2**20, 'GB': 2**30}[options.memory_limit[-2:]]
    # The program counts the projections twice, and splits them to fit into what the active sets leave.
    room = limit - active_sets
    return max(1, math.ceil(2 * projections / room)) if room > 0 else max(1, n_frames)


def _spline_bytes(potential: Mapping[str, Any], radial: Mapping[tuple[str, str], RadialSize]) -> int:
    splines = 0.0
    for pair, bond in bonds_of(dict(potential)).items():
        size = radial[pair]
        n_bins = bond['rcut'] / potential['deltaSplineBins']
        splines += _BIN * n_bins * (size.nradbase + size.nradmax * (size.lmax + 1))
    return round(splines)


def _optimizer_bytes(optimizer: str, n_parameters: int) -> int:
    return _BFGS_MATRICES * _FLOAT * n_parameters**2 if optimizer == 'BFGS' else 0


def _count_trainable(trainable: Any, n_coefficients: int, n_radial: int) -> int:
    """Return how many parameters are fitted; those that are named by groups or elements do not count."""
    names = [trainable] if isinstance(trainable, str) else list(trainable)
    kinds = trainable.get('ALL', []) if isinstance(trainable, dict) else 'all' if 'ALL' in names else names
    if kinds == 'all':
        return n_coefficients + n_radial
    return n_coefficients * ('func' in kinds) + n_radial * ('radial' in kinds)
