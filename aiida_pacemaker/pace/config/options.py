"""What can be asked of active sets and selections, and the arguments that ask the programs of the engine for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Both programs evaluate their memory limit as Python, so nothing but a number and a unit may reach them.
MemoryLimit = Annotated[str, Field(pattern=r'^[1-9][0-9]{0,6}(MB|GB)$')]


class MaxVolOptions(BaseModel):
    """How the MaxVol algorithm is run, by both programs."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    gamma_tolerance: float = Field(default=1.01, gt=1.0, description='The search ends when no gamma is above this.')
    maxvol_iterations: int = Field(default=300, ge=1, description='Largest number of row exchanges of one search.')
    memory_limit: MemoryLimit | None = Field(
        default=None, description='Memory for the projections, as in `2GB`; without it 80 % of what is free is used.'
    )
    batch_size: int | None = Field(
        default=None, ge=1, description='Number of structures considered at once; without it as memory allows.'
    )

    def arguments(self) -> list[str]:
        """Return the command-line arguments."""
        arguments = ['-g', repr(self.gamma_tolerance), '-i', str(self.maxvol_iterations)]
        if self.batch_size is not None:
            arguments += ['-b', str(self.batch_size)]
        return arguments


class ActiveSetOptions(MaxVolOptions):
    """Options of `pace_activeset`."""

    kind: Literal['linear', 'full'] = Field(
        default='linear', description='`full` takes the linearised design matrix of a non-linear embedding.'
    )
    all_atoms: bool = Field(
        default=False,
        description='Take all atoms, also those with large force errors; without batches, outliers are left out else.',
    )
    max_force_error: float | None = Field(
        default=None,
        gt=0,
        description='Leave out atoms with a larger force error in eV/angstrom; without it Q3 + 1.5 IQR of the errors.',
    )
    refinements: int = Field(default=5, ge=1, description='Number of passes over the batches.')

    def arguments(self) -> list[str]:
        """Return the command-line arguments."""
        arguments = [*super().arguments(), '-r', str(self.refinements)]
        if self.memory_limit is not None:
            arguments += ['-m', self.memory_limit]
        if self.kind == 'full':
            arguments.append('-f')
        if self.all_atoms:
            arguments.append('-a')
        if self.max_force_error is not None:
            arguments += ['-e', repr(self.max_force_error)]
        return arguments


class SelectOptions(MaxVolOptions):
    """Options of a selection, by `pace_select` or by the posterior of an exact linear fit."""

    method: Literal['maxvol', 'posterior'] = Field(
        default='maxvol',
        description='maxvol: the frames that enlarge the active set most, by `pace_select`; posterior: those whose '
        'labels take most from the variance of all candidates, by the posterior of an exact linear fit.',
    )
    max_structures: int | None = Field(
        default=None, ge=1, description='Largest number of structures to select; without it all that enter the set.'
    )
    refinements: int = Field(default=2, ge=1, description='Number of passes over the batches.')

    @model_validator(mode='after')
    def _known_to_the_method(self) -> SelectOptions:
        if self.method == 'posterior':
            others = sorted(self.model_fields_set - {'method', 'max_structures'})
            if others:
                raise ValueError(f'{", ".join(others)}: of MaxVol alone, and the method is posterior: leave it out')
        return self

    def arguments(self) -> list[str]:
        """Return the command-line arguments of `pace_select`."""
        arguments = [*super().arguments(), '-r', str(self.refinements)]
        if self.memory_limit is not None:
            arguments += ['-mem', self.memory_limit]
        if self.max_structures is not None:
            arguments += ['-m', str(self.max_structures)]
        return arguments
