"""What may join a dataset, and how it is read: the options of a merge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aiida_pacemaker.frames.checks import MIN_DISTANCE
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.sources.registry import source_called
from aiida_pacemaker.sources.weight_checks import FrameWeights

#: What the dataset that others are merged into is called in options and reports.
BASE = 'base'


class MergeOptions(BaseModel):
    """What may join a dataset, and how it is read."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    generation: int | None = Field(
        default=None,
        ge=0,
        description='Generation that the new frames join in; without it, those of datasets keep theirs.',
    )
    max_failed_fraction: float = Field(
        default=0.0, ge=0, le=1, description='Fraction of the given frames that may be refused; 0 is strict.'
    )
    cutoff: float | None = Field(
        default=None, gt=0, description='Refuse frames without any neighbours within this distance in angstrom.'
    )
    min_distance: float = Field(
        default=MIN_DISTANCE, gt=0, description='Refuse frames with atoms closer than this in angstrom.'
    )
    labelled: bool = Field(
        default=True, description='False drops all labels, for candidates that are only to be selected from.'
    )
    require_stress: bool = Field(
        default=False, description='Refuse periodic frames without stress, which no fit of the engine uses.'
    )
    elements: list[str] | None = Field(default=None, description='Refuse frames with other elements.')
    conventions: dict[str, str] = Field(
        default_factory=dict,
        description='Convention of the arrays of each trajectory, by the label of the source: `eV-ASE`, '
        '`quantumespresso`, `vasp`, `cp2k`, or that of a class of another package.',
    )
    keys: LabelKeys | dict[str, LabelKeys] = Field(
        default_factory=dict,
        description='Names of the labels in files, where these are not the usual ones: of all files, or by the label '
        'of the source.',
    )
    formats: str | dict[str, str] = Field(
        default_factory=dict,
        description='Formats of files that neither their names nor their contents tell, in the words of ASE: of all '
        'files, or by the label of the source or the name of the file.',
    )
    allow_unconverged: bool = Field(
        default=False,
        description='Accept frames whose calculation ended before it was self-consistent; the report counts them.',
    )
    weights: FrameWeights | dict[str, FrameWeights] = Field(
        default_factory=dict,
        description='How much the new frames count in a fit, in place of what they bring: of all sources, or by the '
        'label of the source. Only ratios matter; frames without weights count as 1.',
    )
    levels: dict[str, LevelOfTheory | str] = Field(
        default_factory=dict,
        description='Level of theory of each source that does not say it itself, by its label (`base` for the base); '
        'the label of another source here stands for the same level.',
    )
    isolated_atoms: Literal['keep', 'set_aside'] = Field(
        default='keep',
        description='Whether labelled frames of one atom alone stay among the others, or become a dataset of their own '
        'that gives the reference energies.',
    )
    contradictions: Literal['refuse', 'warn'] = Field(
        default='refuse',
        description='Whether energies that do not change as forces or stresses say, which are then of other units or '
        'signs, are refused, or merged with a warning in the report.',
    )
    mixed_levels: Literal['refuse', 'warn'] = Field(
        default='refuse',
        description='Whether frames of different levels of theory are refused, or merged with a warning in the report.',
    )

    @field_validator('conventions')
    @classmethod
    def _conventions_are_known(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value.values():
            source_called(name)
        return value

    @model_validator(mode='after')
    def _levels_are_there(self) -> MergeOptions:
        for label, level in self.levels.items():
            if isinstance(level, str) and not isinstance(self.levels.get(level), LevelOfTheory):
                raise ValueError(f'`levels` says that {label} has the level of {level}, which is not given')
        return self

    def check_labels(self, names: Mapping[str, str]) -> None:
        """Hold what is said of single sources against what is merged.

        :param names: the name of each file by the label of its source; of what is no file, its label only.
        :raises ValueError: if an option speaks of something else.
        """
        named = {
            'conventions': set(self.conventions),
            'keys': set() if isinstance(self.keys, LabelKeys) else set(self.keys),
            'formats': set() if isinstance(self.formats, str) else set(self.formats) - set(names.values()),
            'weights': set() if isinstance(self.weights, FrameWeights) else set(self.weights),
            'levels': set(self.levels) - {BASE},
        }
        for option, labels in named.items():
            unknown = sorted(labels - set(names))
            if unknown:
                hint = '; a base is taken as it is, give it as a source instead' if BASE in unknown else ''
                known = ', '.join(names) or 'none'
                raise ValueError(f'`{option}` speaks of {", ".join(unknown)}, but the sources are {known}{hint}')

    def keys_of(self, label: str) -> LabelKeys:
        """Return what is said here of the names of the labels of a source."""
        return self.keys if isinstance(self.keys, LabelKeys) else self.keys.get(label, LabelKeys())

    def format_of(self, label: str, filename: str) -> str | None:
        """Return what is said here of the format of a file."""
        if isinstance(self.formats, str):
            return self.formats
        return self.formats.get(label, self.formats.get(filename))

    def level_of(self, label: str) -> LevelOfTheory | None:
        """Return what is said here of the level of theory of a source."""
        level = self.levels.get(label)
        level = self.levels[level] if isinstance(level, str) else level
        return level if isinstance(level, LevelOfTheory) else None
