"""The sections of the engine's input but for the potential: what it reads, with units, ranges and its own defaults."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from aiida_pacemaker.errors import ProblemsError
from aiida_pacemaker.pace.config.species import GROUPS, is_block_key

#: Options of ``scipy.optimize.minimize`` by method; the number of iterations is ``fit.maxiter``.
OPTIMIZER_OPTIONS = {
    'BFGS': {'gtol', 'xrtol', 'norm', 'eps', 'finite_diff_rel_step', 'c1', 'c2', 'disp', 'return_all'},
    'L-BFGS-B': {'maxcor', 'ftol', 'gtol', 'eps', 'maxfun', 'maxls', 'finite_diff_rel_step', 'disp', 'iprint'},
    'CG': {'gtol', 'norm', 'eps', 'finite_diff_rel_step', 'c1', 'c2', 'disp', 'return_all'},
    'Nelder-Mead': {'maxfev', 'xatol', 'fatol', 'adaptive', 'disp', 'return_all'},
}


class Section(BaseModel):
    """A part of the input: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra='forbid', frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    #: Keys of the engine that are not for the user to set, with what to do instead.
    refused: ClassVar[dict[str, str]] = {}


def _option(value: Any) -> Any:
    if not isinstance(value, bool | int | float):
        raise ValueError('a number, true or false')
    return value


def _kappa(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != 'auto' and not (is_number and 0 <= value <= 1):
        raise ValueError("a number from 0 (energies only) to 1 (forces only), or 'auto'")
    return value


def _ladder_step(value: Any) -> Any:
    steps = value if isinstance(value, list | tuple) else [value]
    counts = [step for step in steps if isinstance(step, int) and not isinstance(step, bool) and step >= 1]
    fractions = [step for step in steps if isinstance(step, float) and 0 < step < 1]
    if len(counts) + len(fractions) != len(steps) or len(counts) > 1 or len(fractions) > 1 or not steps:
        raise ValueError('an integer >= 1 (functions), a fraction between 0 and 1 (of the basis), or a list of both')
    return value


def _trainable_parameters(value: Any) -> Any:
    """Accept what the engine expands: one name, a list of names, or a mapping of names to kinds of parameters."""
    names = value if isinstance(value, dict | list) else [value]
    known = all(isinstance(name, str) and (name in GROUPS or is_block_key(name)) for name in names)
    kinds = value.values() if isinstance(value, dict) else ()
    if value in ('func', 'radial') or (names and known and all(_is_kind(kind) for kind in kinds)):
        return value
    raise ValueError(
        f"'func', 'radial', one or a list of {', '.join(GROUPS)} or elements such as AlNi (the central atom, then its "
        "neighbours in alphabetical order), or a mapping of these to 'func', 'radial', 'all' or a list of the first two"
    )


def _is_kind(kind: Any) -> bool:
    return kind in ('func', 'radial', 'all') or (
        isinstance(kind, list) and bool(kind) and all(one in ('func', 'radial') for one in kind)
    )


OptionValue = Annotated[bool | int | float, BeforeValidator(_option)]
Kappa = Annotated[float | Literal['auto'], BeforeValidator(_kappa)]
LadderStep = Annotated[int | float | list[int | float], BeforeValidator(_ladder_step)]
TrainableParameters = Annotated[
    str | list[str] | dict[str, str | list[str]],
    BeforeValidator(_trainable_parameters),
]


class Loss(Section):
    """The loss: ``(1 - kappa)`` times the energy term plus ``kappa`` times the force term plus regularisation."""

    kappa: Kappa | None = Field(
        None,
        description='weight of the forces against the energies, 0 to 1, or auto for the variance ratio of the data. '
        'Engine default: 0, no forces.',
    )
    L1_coeffs: float | None = Field(None, ge=0, description='L1 penalty on the coefficients. Engine default: 0.')
    L2_coeffs: float | None = Field(None, ge=0, description='L2 penalty on the coefficients. Engine default: 0.')
    w0_rad: float | None = Field(None, ge=0, description='penalty on radial functions. Engine default: 0.')
    w1_rad: float | None = Field(
        None, ge=0, description='penalty on first derivatives of radial functions. Engine default: 0.'
    )
    w2_rad: float | None = Field(
        None, ge=0, description='penalty on second derivatives of radial functions. Engine default: 0.'
    )
    w_orth: float | None = Field(
        None, ge=0, description='penalty on overlapping radial functions (tensorpot only). Engine default: 0.'
    )


class Weighting(Section):
    """Weights from energies, or those of the frames.

    Weights from energies **drop structures**: those above ``DEup`` or ``DFup``, and those beyond ``nfit``.
    """

    refused: ClassVar[dict[str, str]] = {
        'filename': 'weights come with the frames: merge with `weights`, or files that have them (w_energy, w_forces)',
    }

    type: Literal['EnergyBasedWeightingPolicy', 'ExternalWeightingPolicy'] = Field(
        description='the weighting policy; ExternalWeightingPolicy takes the weights of the frames of the dataset'
    )
    nfit: int | None = Field(None, ge=1, description='structures to fit to. Engine default: all.')
    n_lower: int | None = Field(None, ge=0, description='structures to take below DElow, with n_upper instead of nfit')
    n_upper: int | None = Field(None, ge=0, description='structures to take above DElow, with n_lower instead of nfit')
    DElow: float | None = Field(None, gt=0, description='end of the lower tier in eV/atom. Engine default: 1.')
    DEup: float | None = Field(None, gt=0, description='energies dropped above it in eV/atom. Engine default: 10.')
    DFup: float | None = Field(
        None,
        gt=0,
        description='structures with a larger force on an atom are dropped, eV/angstrom. Engine default: off.',
    )
    DE: float | None = Field(None, gt=0, description='energy offset in the weights, eV/atom. Engine default: 1.')
    DF: float | None = Field(None, gt=0, description='force offset in the weights. Engine default: 1.')
    wlow: float | None = Field(None, gt=0, le=1, description='weight of the lower tier. Engine default: as it comes.')
    energy: Literal['convex_hull', 'cohesive'] | None = Field(
        None, description='zero of energy: convex hull or lowest energy per atom. Engine default: convex_hull.'
    )
    reftype: Literal['all', 'bulk', 'cluster'] | None = Field(
        None, description='use all, only periodic or only non-periodic structures. Engine default: all.'
    )
    seed: int | None = Field(
        None, ge=0, lt=2**32, description='random seed of the choice. Engine default: none; here the seed of the fit.'
    )

    @model_validator(mode='after')
    def _counts(self) -> 'Weighting':
        others = sorted(self.model_dump(exclude_none=True, exclude={'type'}))
        if self.type == 'ExternalWeightingPolicy' and others:
            raise ProblemsError([(others[0], 'not read with ExternalWeightingPolicy; leave it out')])
        tiers = (self.n_lower is not None, self.n_upper is not None)
        if any(tiers) and (self.nfit is not None or not all(tiers)):
            raise ProblemsError([('n_lower', 'give either nfit, or both n_lower and n_upper')])
        if self.DElow is not None and self.DElow > (self.DEup if self.DEup is not None else 10.0):
            raise ProblemsError([('DElow', f'found {self.DElow}, needed: at most DEup (engine default 10)')])
        return self


class Fit(Section):
    """How the potential is fitted."""

    refused: ClassVar[dict[str, str]] = {
        'callbacks': 'names Python code to import on the computer, which is not supported; leave it out',
    }

    loss: Loss | None = Field(None, description='the loss function')
    weighting: Weighting | None = Field(None, description='weights of the structures. Engine default: equal weights.')
    optimizer: Literal['BFGS', 'L-BFGS-B', 'CG', 'Nelder-Mead'] | None = Field(
        None, description='scipy method. Engine default: BFGS, whose memory grows with the square of the parameters.'
    )
    maxiter: int | None = Field(
        None, ge=1, description='iterations of each cycle and ladder step. Engine default: 100.'
    )
    options: dict[str, OptionValue] | None = Field(None, description='further options of the scipy method')
    repulsion: Literal['auto'] | None = Field(
        None,
        description='auto: switch to ZBL below the shortest distance of each pair in the data. Engine default: off.',
    )
    trainable_parameters: TrainableParameters | None = Field(
        None, description='what is fitted: ALL, func, radial, groups of elements. Engine default: ALL.'
    )
    fit_cycles: int | None = Field(None, ge=1, description='fits in a row, the best is kept. Engine default: 1.')
    noise_relative_sigma: float | None = Field(
        None, gt=0, description='noise relative to each coefficient before further cycles. Engine default: 0.'
    )
    noise_absolute_sigma: float | None = Field(
        None, gt=0, description='noise added to the coefficients before further cycles. Engine default: 0.'
    )
    randomize_func_coeffs: float | None = Field(
        None, gt=0, description='spread of coefficients drawn anew for further cycles (an ensemble). Engine default: 0.'
    )
    ladder_step: LadderStep | None = Field(
        None,
        description='functions added to each block of elements at a time, a count, a fraction, or both. '
        'Engine default: no ladder.',
    )
    ladder_type: Literal['body_order', 'power_order'] | None = Field(
        None, description='order in which a ladder adds functions. Engine default: body_order.'
    )
    min_relative_train_loss_per_iter: float | None = Field(
        None, gt=0, description='stop when the training loss falls by less, per iteration. Engine default: off.'
    )
    min_relative_test_loss_per_iter: float | None = Field(
        None, gt=0, description='stop when the test loss falls by less, per iteration (tensorpot). Engine default: off.'
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description='iterations over which a slow loss is tolerated. Engine default: 200.'
    )

    @model_validator(mode='after')
    def _consistent(self) -> 'Fit':
        problems = []
        known = OPTIMIZER_OPTIONS[self.optimizer or 'BFGS']
        for key in self.options or {}:
            if key == 'maxiter':
                problems.append(('options.maxiter', 'set fit.maxiter (or max_epochs) instead'))
            elif key not in known:
                text = f'unknown to {self.optimizer or "BFGS"}; known: {", ".join(sorted(known))}'
                problems.append((f'options.{key}', text))
        noises = [
            name
            for name in ('noise_relative_sigma', 'noise_absolute_sigma', 'randomize_func_coeffs')
            if getattr(self, name) is not None
        ]
        if len(noises) > 1:
            problems.append((noises[1], f'the engine applies only one kind of noise; {noises[0]} is given too'))
        if noises and (self.fit_cycles or 1) < 2:
            problems.append((noises[0], 'acts from the second cycle on; set fit_cycles to 2 or more'))
        if problems:
            raise ProblemsError(problems)
        return self


class GpuConfig(Section):
    """The GPU that tensorpot uses."""

    gpu_ind: int | None = Field(None, ge=-1, description='index of the GPU, -1 for the CPU. Engine default: 0.')
    mem_limit: int | None = Field(None, ge=0, description='memory limit in MB, 0 for none. Engine default: 0.')


class Backend(Section):
    """What evaluates the potential during the fit."""

    evaluator: Literal['linear', 'pyace', 'tensorpot'] | None = Field(
        None,
        description='linear solves for the minimum exactly where the embedding is linear; pyace needs no TensorFlow '
        'but has numerical gradients; tensorpot is fast and fits what is not linear',
    )
    parallel_mode: Literal['serial', 'process'] | None = Field(
        None, description='pyace only: one process or several. Engine default: serial.'
    )
    n_workers: int | None = Field(
        None,
        ge=1,
        description='linear, and pyace with parallel_mode process: number of processes. Engine default: all cores. '
        'Default of linear: the cores that the job asks for.',
    )
    batch_size: int | None = Field(None, ge=1, description='tensorpot only: structures a batch. Engine default: 10.')
    batch_size_reduction: bool | None = Field(
        None, description='tensorpot only: smaller batches when memory runs out. Engine default: true.'
    )
    batch_size_reduction_factor: float | None = Field(
        None, gt=1, description='tensorpot only: batches shrink by this factor. Engine default: 1.618.'
    )
    gpu_config: GpuConfig | None = Field(None, description='tensorpot only: which GPU')
    display_step: int | None = Field(
        None, ge=1, description='iterations between full reports and test errors. Engine default: 20.'
    )
    imagetype: Literal['png', 'pdf', 'svg'] | None = Field(
        None, description='format of the plots in report/. Engine default: png.'
    )


class Data(Section):
    """What is left to choose about the data."""

    refused: ClassVar[dict[str, str]] = {
        'filename': 'written from the `dataset` input of the calculation; leave it out',
        'test_filename': 'written from the `test_dataset` input of the calculation; leave it out',
        'test_size': 'give the test frames as the `test_dataset` input of the calculation, so that they stay the same',
        'reference_energy': 'written from the `reference_energies` input of the calculation; leave it out',
        'datapath': 'the data lie in the working folder of the calculation; leave it out',
        'seed': 'not read by the engine; set the top-level seed',
    }

    aug_factor: float | None = Field(
        None, gt=0, description='weight factor of frames whose name begins with augmented. Engine default: 1e-4.'
    )
    ignore_weights: bool | None = Field(
        None, description='compute weights even where the data bring their own. Engine default: false.'
    )
