"""The names under which a file has its labels, where these are not the usual ones."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LabelKeys(BaseModel):
    """Names of the labels in a file (`REF_energy`, `dft_forces`, ...), or of the columns of a pickle.

    A label that is not named here is looked for under its usual name.
    """

    model_config = ConfigDict(frozen=True, extra='forbid')

    energy: str | None = Field(default=None, min_length=1, description='Total energy of the structure in eV.')
    forces: str | None = Field(default=None, min_length=1, description='Forces on the atoms in eV/angstrom.')
    stress: str | None = Field(
        default=None, min_length=1, description='Stress in eV/angstrom^3, tension positive (sign of ASE).'
    )
    virial: str | None = Field(
        default=None, min_length=1, description='Virial in eV, instead of a stress, which is -virial/volume.'
    )

    @model_validator(mode='after')
    def _one_of_two(self) -> LabelKeys:
        if self.stress is not None and self.virial is not None:
            raise ValueError(
                f'`keys` names both a stress ({self.stress}) and a virial ({self.virial}): name the one that is to be '
                'taken'
            )
        return self
