"""The settings of the active-learning loop."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LoopSettings(BaseModel):
    """When the loop goes on, what it takes, and when it is done."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    max_generations: int = Field(default=10, ge=1, description='Largest number of generations of this run.')
    first_epochs: int = Field(default=100, ge=1, description='Iterations of a fit that begins from nothing.')
    later_epochs: int = Field(default=10, ge=1, description='Iterations of a fit that continues the last potential.')
    frames_per_generation: int = Field(default=20, ge=1, description='Largest number of frames selected at once.')
    gamma_threshold: float = Field(
        default=1.5,
        gt=0,
        description='Candidates whose largest extrapolation grade is below this are known already and not selected.',
    )
    label_budget: int | None = Field(default=None, ge=0, description='Largest number of frames labelled by this run.')
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
    require_stress: bool = Field(default=True, description='Whether periodic frames without stress are refused.')
    lj: bool = Field(default=False, description='Whether the baseline, where none is given, has an LJ part beside ZBL.')
