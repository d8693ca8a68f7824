"""What can be asked of an exploration: molecular dynamics with the potential, watched by the extrapolation grade."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aiida_pacemaker.frames.checks import MIN_DISTANCE
from aiida_pacemaker.frames.perturbation import Perturbation
from aiida_pacemaker.frames.table import Frames

Temperature = Annotated[float, Field(gt=0)]
#: One value, or values between which it goes in straight lines and equal times.
TemperatureSchedule = Temperature | Annotated[tuple[Temperature, ...], Field(min_length=2)]
PressureSchedule = float | Annotated[tuple[float, ...], Field(min_length=2)]


#: Up to a gamma of 1 a potential interpolates; frames that are only just above it teach little.
GAMMA_THRESHOLD = 1.5


class Reason(str, Enum):
    """Why a run came to its end."""

    FINISHED = 'finished'
    GAMMA_HIGH = 'gamma_high'
    TOO_CLOSE = 'atoms_too_close'
    RUNAWAY = 'temperature_runaway'
    SEED_BEYOND = 'seed_beyond_gamma_high'
    FAILED = 'failed'

    def __str__(self) -> str:
        return self.value


class ExploreOptions(BaseModel):
    """How structures are explored from: the dynamics, what is kept, what stops a run, and how a run begins."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    ensemble: Literal['nve', 'nvt', 'npt'] = Field(
        default='nvt',
        description='Constant energy (velocity Verlet), temperature (Langevin), or temperature and pressure.',
    )
    temperature: TemperatureSchedule = Field(
        default=300.0,
        description='In K: one value, or a list that is gone through in straight lines over the run. With `nve` the '
        'temperature of the initial velocities.',
    )
    pressure: PressureSchedule | None = Field(
        default=None,
        description='In GPa, compression positive: one value, or a list as for `temperature` (`npt`; 0 if not given).',
    )
    n_steps: int = Field(default=1000, ge=1, description='Number of time steps of a run.')
    timestep: float = Field(default=1.0, gt=0, le=100, description='In fs.')
    friction: float = Field(default=0.01, gt=0, description='Friction of the Langevin thermostat in 1/fs (`nvt`).')
    thermostat_time: float = Field(default=100.0, gt=0, description='Relaxation time of the temperature in fs (`npt`).')
    barostat_time: float = Field(default=1000.0, gt=0, description='Relaxation time of the pressure in fs (`npt`).')
    compressibility: float = Field(
        default=0.01, gt=0, description='Estimate in 1/GPa, which sets the pace of the barostat only (`npt`).'
    )
    check_every: int = Field(
        default=10, ge=1, description='Number of steps between two looks at gamma, distances and temperature.'
    )
    gamma_low: float = Field(default=GAMMA_THRESHOLD, ge=0, description='Frames with a gamma from here on are kept.')
    gamma_high: float = Field(default=10.0, gt=0, description='A run that goes beyond this gamma is stopped.')
    max_frames_per_run: int = Field(default=10, ge=1, description='Largest number of frames that a run keeps.')
    spacing: int = Field(default=50, ge=1, description='Smallest number of steps between two kept frames of a run.')
    min_distance: float = Field(
        default=MIN_DISTANCE, ge=0, description='In angstrom; a run in which two atoms come closer is stopped.'
    )
    max_temperature_factor: float = Field(
        default=10.0, gt=1, description='A run that is this many times hotter than it should be is stopped.'
    )
    copies: int = Field(default=1, ge=1, description='Number of runs from each structure, each perturbed anew.')
    perturbation: Perturbation = Field(
        default=Perturbation(), description='What is done to the structures before: `Perturbation`.'
    )

    @model_validator(mode='after')
    def _consistent(self) -> ExploreOptions:
        if self.gamma_low >= self.gamma_high:
            raise ValueError(
                f'gamma_low={self.gamma_low:g} and gamma_high={self.gamma_high:g} leave nothing to keep: gamma_low '
                'must be the smaller one'
            )
        if self.pressure is not None and self.ensemble != 'npt':
            raise ValueError(f'a pressure is given, but the ensemble is {self.ensemble}: leave it out, or use npt')
        if self.ensemble == 'nve' and isinstance(self.temperature, tuple):
            raise ValueError('nve keeps the energy, so it cannot follow a list of temperatures: give one, or use nvt')
        return self

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The values that the temperature goes through in K."""
        return _as_tuple(self.temperature)

    @property
    def pressures(self) -> tuple[float, ...]:
        """The values that the pressure goes through in GPa; empty where none is held."""
        if self.ensemble != 'npt':
            return ()
        return _as_tuple(self.pressure or 0.0)

    def request(self) -> dict[str, Any]:
        """Return what a driver is told of the runs, as plain data: all but how they begin."""
        plain = self.model_dump(mode='json', exclude={'temperature', 'pressure', 'copies', 'perturbation'})
        return {**plain, 'temperatures': list(self.temperatures), 'pressures': list(self.pressures)}


def check_periodicity(options: ExploreOptions, frames: Frames) -> str | None:
    """Return why an ensemble makes no sense for some structures, or None."""
    if options.ensemble != 'npt' or bool(frames.pbc.all()):
        return None
    frame = int(np.flatnonzero(~frames.pbc.all(axis=1))[0])
    return (
        f'npt needs periodic boundary conditions along all three axes, but frame {frame} of the initial structures has '
        f'{frames.pbc[frame].tolist()}: use nvt for it'
    )


def _as_tuple(schedule: float | tuple[float, ...]) -> tuple[float, ...]:
    return schedule if isinstance(schedule, tuple) else (schedule,)
