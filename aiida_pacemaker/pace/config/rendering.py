"""The engine's input file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import yaml

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.pace.config.short_range import use_baseline
from aiida_pacemaker.pace.config.species import SYMBOLS
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig

InitialMode = Literal['continue', 'reset', 'extend']

#: A ladder step beyond any basis. The engine cuts it down to what is missing, so that all new functions come at once.
WHOLE_LADDER = 1_000_000

_FILE = re.compile(r'(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*')
_PLAIN = re.compile(r'[A-Za-z][A-Za-z0-9_./-]*')


@dataclass(frozen=True)
class InitialPotential:
    """A potential to begin from.

    :param filename: B-basis file in the working folder of the job.
    :param further: files of further potentials, of other elements; only to extend all of them together.
    :param mode: ``continue`` keeps shape and coefficients; ``reset`` keeps the shape, with all coefficients at zero;
        ``extend`` keeps functions and coefficients and adds the functions that the configuration has beyond them,
        step by step.
    :raises ConfigError: if the name or the mode is not one of these.
    """

    filename: str
    mode: InitialMode
    further: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_files([self.filename, *self.further], ('.yaml',), 'initial potential')
        if self.mode not in get_args(InitialMode):
            raise ConfigError(
                f'initial potential: found mode {self.mode!r}, needed: {", ".join(get_args(InitialMode))}'
            )
        if self.further and self.mode != 'extend':
            raise ConfigError(f'initial potential: found mode {self.mode} for several potentials, needed: extend')


def render_input(
    config: TrainerConfig,
    *,
    data_files: Sequence[str],
    test_files: Sequence[str] | None = None,
    reference_energy: Mapping[str, float],
    initial: InitialPotential | None = None,
    max_epochs: int | None = None,
    baseline: DeltaBaseline | None = None,
    keep_core: bool = False,
    callbacks: Sequence[str] = (),
) -> str:
    """Return the text of ``input.yaml``, the same for the same arguments.

    :param config: the configuration.
    :param data_files: gzip-pickled data frames to fit to, in the working folder of the job.
    :param test_files: gzip-pickled data frames to test on.
    :param reference_energy: energy of the single atom of each element of the configuration, in eV; those of further
        elements are written too.
    :param initial: the potential to begin from, if any.
    :param max_epochs: iterations of this run, in place of those of the configuration.
    :param baseline: what is subtracted from the labels, which says what the engine does at short range.
    :param keep_core: whether the ZBL core of the potential to begin from stays as it is, see `use_baseline`.
    :param callbacks: Python functions, as `module.function`, that the engine calls after each iteration.
    :raises ConfigError: if a file name could lead out of the working folder or is not one the engine can read, a
        reference energy is missing, if configuration and initial potential contradict each other, or if the fit is an
        exact linear one, which the engine does not do.
    """
    if config.used_evaluator == 'linear':
        raise ConfigError(
            'evaluator: found linear, which pacemaker does not have; needed for its input: pyace or tensorpot'
        )
    _check_files(data_files, ('.gzip', '.gz'), 'data file')
    if not data_files:
        raise ConfigError('data file: found none, needed: at least one')
    _check_files(test_files or (), ('.gzip', '.gz'), 'test file')
    # Engines before 0.4 need it; later ones take it with a warning.
    sections = {'cutoff': config.cutoff, **config.sections()}
    _check_energies(reference_energy, config.elements)
    fit = sections['fit']
    if fit.get('weighting', {}).get('type') == 'ExternalWeightingPolicy':
        # The weights are columns of the data.
        del fit['weighting']
    if fit.get('min_relative_test_loss_per_iter') is not None and not test_files:
        raise ConfigError('fit.min_relative_test_loss_per_iter: needed: test data, without which it never acts')
    if max_epochs is not None:
        if max_epochs < 1:
            raise ConfigError(f'max_epochs: found {max_epochs}, needed: at least 1')
        fit['maxiter'] = max_epochs
    if baseline is not None:
        use_baseline(sections, baseline, keep_core=keep_core)
    if callbacks:
        fit['callbacks'] = list(callbacks)
    sections['data'] |= {'filename': list(data_files)}
    if test_files:
        sections['data'] |= {'test_filename': list(test_files)}
    sections['data'] |= {'reference_energy': {key: float(reference_energy[key]) for key in sorted(reference_energy)}}
    if initial is not None:
        _begin_from(initial, sections)
    return yaml.dump(sections, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def _begin_from(initial: InitialPotential, sections: dict[str, Any]) -> None:
    if initial.mode == 'extend':
        several = [initial.filename, *initial.further]
        sections['potential']['initial_potential'] = several if initial.further else initial.filename
        sections['fit'].setdefault('ladder_step', WHOLE_LADDER)
        return
    if 'ladder_step' in sections['fit']:
        raise ConfigError(
            f'fit.ladder_step: a ladder cannot {initial.mode} {initial.filename}: the engine would begin from an empty '
            'basis; needed: the mode extend, or no ladder_step'
        )
    sections['potential'] = (
        initial.filename if initial.mode == 'continue' else {'filename': initial.filename, 'reset': True}
    )


def _check_files(names: Sequence[str], suffixes: tuple[str, ...], what: str) -> None:
    for name in names:
        if _FILE.fullmatch(name) is None:
            raise ConfigError(
                f'{what}: found {name!r}, needed: a relative path of letters, digits, dots, dashes and underscores'
            )
        if not name.endswith(suffixes):
            raise ConfigError(f'{what}: found {name!r}, needed: a name that ends in {" or ".join(suffixes)}')
    if len(set(names)) < len(names):
        raise ConfigError(f'{what}: found {", ".join(names)}, needed: each once')


def _check_energies(reference_energy: Mapping[str, float], elements: Sequence[str]) -> None:
    missing = sorted(set(elements) - set(reference_energy))
    if missing:
        raise ConfigError(
            f'reference_energy: missing for {", ".join(missing)}, which the engine would take as zero; needed: '
            f'an energy in eV for each of {", ".join(elements)}'
        )
    strangers = sorted(set(reference_energy) - SYMBOLS)
    if strangers:
        raise ConfigError(f'reference_energy: found {", ".join(strangers)}, needed: chemical symbols')
    infinite = [key for key, value in reference_energy.items() if not abs(value) < float('inf')]
    if infinite:
        raise ConfigError(f'reference_energy: not a finite number for {", ".join(infinite)}')


class _Dumper(yaml.SafeDumper):
    """Writes YAML that versions 1.1 and 1.2 of the language read alike."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML speaks YAML 1.1, the engine reads 1.2: a plain 1e5 is text to the one and a number to the other.
    style = None if _PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar('tag:yaml.org,2002:str', text, style=style)


_Dumper.add_representer(str, _represent_text)
