"""The settings of the active-learning loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aiida_pacemaker.exploration.options import GAMMA_THRESHOLD

#: Iterations of fits by iterations that begin from nothing, and of those that continue a potential.
FIRST_ITERATIONS, LATER_ITERATIONS = 100, 10


class LoopSettings(BaseModel):
    """When the loop goes on, what it takes, and when it is done."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    max_generations: int = Field(default=10, ge=1, description='Largest number of generations of this run.')
    first_iterations: int | None = Field(
        default=None,
        ge=1,
        description='Iterations of a fit that begins from nothing; by default 100. Exact linear fits have none.',
    )
    later_iterations: int | None = Field(
        default=None,
        ge=1,
        description='Iterations of a fit that continues the last potential; by default 10. Exact linear fits have '
        'none.',
    )
    frames_per_generation: int = Field(default=20, ge=1, description='Largest number of frames selected at once.')
    gamma_threshold: float = Field(
        default=GAMMA_THRESHOLD,
        gt=0,
        description='Candidates whose largest extrapolation grade is below this are known already and not selected.',
    )
    gamma_quantile: Literal['median', 'p90', 'p99', 'max'] = Field(
        default='max',
        description='Quantile of the extrapolation grade, over the pool or over all that was explored, that has to be '
        'below the threshold for the loop to be done.',
    )
    target_sigma_forces: float | None = Field(
        default=None,
        gt=0,
        description='Error bar of the forces in eV/angstrom that is small enough: the loop is done when that quantile '
        '(`gamma_quantile`) of the largest one of each frame of the pool, or of those that explorations have kept, is '
        'below it. Exact linear fits have them.',
    )
    seed_frames: int = Field(
        default=10,
        ge=1,
        description='Frames of the dataset that explorations begin from, others in each generation, where none '
        'are given as `explore.initial_structures`.',
    )
    exploration_seed: int = Field(
        default=42,
        ge=0,
        lt=2**31,
        description='Random seed of explorations and of the frames held out for the test set.',
    )
    test_share: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description='Share of the labels of each generation that goes to the test set: candidates that are drawn '
        'at random, labelled as the others are, and never trained on.',
    )
    ensemble_seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default=(),
        description='Seeds of the members of an ensemble that is trained beside the potential, for the spread of its '
        'forces. Each is trained on a share of the dataset that its seed draws: the seed of the engine changes nothing '
        'in a fit of one cycle.',
    )
    ensemble_fraction: float = Field(
        default=0.8, gt=0, lt=1, description='Share of the dataset that each member of the ensemble is trained on.'
    )
    isolated_atoms: bool = Field(
        default=False,
        description='Whether the labeller computes the energies of the isolated atoms, at the settings of all labels, '
        'where no reference energies are given; otherwise they are fitted to the first dataset.',
    )
    contradictions: Literal['refuse', 'warn'] = Field(
        default='refuse',
        description='Whether labels of other units or signs, which the frames contradict, are refused, or merged with '
        'a warning.',
    )
    mixed_levels: Literal['refuse', 'warn'] = Field(
        default='refuse', description='What to do about labels of different levels of theory in one dataset.'
    )
    label_budget: int | None = Field(
        default=None,
        ge=0,
        description='Largest number of frames labelled by this run, those for the test set included.',
    )
    core_hours_budget: float | None = Field(
        default=None, gt=0, description='Core hours of all jobs of this run after which no further generation begins.'
    )
    target_rmse_energy: float | None = Field(
        default=None, gt=0, description='Test error in eV/atom that is good enough (with that of the forces, if given).'
    )
    target_rmse_forces: float | None = Field(
        default=None,
        gt=0,
        description='Test error in eV/angstrom that is good enough (with that of the energy, if given).',
    )
    plateau_generations: int | None = Field(
        default=None,
        ge=1,
        description='Stop if the test error of the forces did not improve for this many generations.',
    )
    plateau_tolerance: float = Field(
        default=0.02, ge=0, lt=1, description='Relative improvement below which an error is on a plateau.'
    )
    max_failed_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description='Fraction of the initial frames, and of those selected in a generation, that may be refused or '
        'fail to be labelled. The others are kept in any case.',
    )
    require_stress: bool = Field(
        default=False,
        description='Whether periodic frames without stress, which no fit of the engine uses, are refused.',
    )
    lj: bool = Field(default=False, description='Whether the baseline, where none is given, has an LJ part beside ZBL.')

    def iterations(self, *, first: bool) -> int:
        """Return the number of iterations of a fit.

        :param first: whether it begins from nothing.
        """
        given = self.first_iterations if first else self.later_iterations
        return (FIRST_ITERATIONS if first else LATER_ITERATIONS) if given is None else given

    @model_validator(mode='after')
    def _distinct(self) -> LoopSettings:
        if len(set(self.ensemble_seeds)) < len(self.ensemble_seeds):
            raise ValueError(f'ensemble_seeds: found {list(self.ensemble_seeds)}, needed: each once')
        return self
