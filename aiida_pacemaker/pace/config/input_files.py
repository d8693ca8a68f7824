"""Reading the input files that people have (``input.yaml`` of the engine) as configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.option_errors import near_miss
from aiida_pacemaker.pace.config.sections import Loss, Section, Weighting
from aiida_pacemaker.pace.config.trainer_config import SECTIONS, TrainerConfig, parse_config

#: An input is a page of text; one of ten thousand lines is another file.
MAX_BYTES = 1 << 20

#: Keys that old versions of the engine had, or that their examples have kept, and what reads them now: nothing.
DEAD = {
    'fit.loss.w1_coeffs': 'read by no engine',
    'fit.loss.w2_coeffs': 'read by no engine',
    'fit.loss.w_energy': 'read by no engine; energies against forces are `fit.loss.kappa`',
    'fit.loss.w_forces': 'read by no engine; energies against forces are `fit.loss.kappa`',
    'fit.loss.w_stress': 'read by no engine, which never fits stress',
    'backend.batch_size_evaluation': 'read by no engine; the size of batches is `backend.batch_size`',
    'backend.batch_size_training': 'read by no engine; the size of batches is `backend.batch_size`',
    'NameofCutoffFunction': 'read by no engine (NameOfCutoffFunction is), which has one cutoff function only',
}
#: What a job provides, and how it is given.
PROVIDED = {
    'cutoff': 'written from the largest rcut',
    'data.filename': 'give the data as the input `dataset` (`merge_frames`)',
    'data.test_filename': 'give the data as the input `test_dataset` (`merge_frames`)',
    'data.datapath': 'give the data as the input `dataset` (`merge_frames`)',
    'data.seed': 'the engine does not read it; the seed is `seed`',
}
_NOISES = ('noise_relative_sigma', 'noise_absolute_sigma', 'randomize_func_coeffs')


@dataclass(frozen=True)
class InputFile:
    """What an input file of the engine says.

    :param config: the configuration, with the same basis, loss and fit.
    :param reference_energies: energy of the single atom of each element in eV, for the input `reference_energies`; None
        if the file leaves them to the engine or has none.
    :param test_fraction: share of the data that the file has the engine draw for its test set, for `split_frames`; None
        if it has none.
    :param notes: what was left out, and what to give in its place; one a line.
    """

    config: TrainerConfig
    reference_energies: dict[str, float] | None
    test_fraction: float | None
    notes: tuple[str, ...]


def read_input_file(path: str | Path) -> InputFile:
    """Read an input file of the engine.

    :raises ConfigError: as :func:`read_input`, or if the file cannot be read.
    """
    try:
        with Path(path).open('rb') as file:
            return read_input(file.read(MAX_BYTES + 1))
    except OSError as exception:
        raise ConfigError(f'{path} cannot be read: {exception.strerror}') from exception


def read_input(text: str | bytes) -> InputFile:
    """Read the text of an input file of the engine, in YAML 1.2 as the engine does (``1e-8`` is a number).

    What the job provides is removed, and the notes say how to give it. Keys that the engine does not read are left
    out, as it does, and named in the notes with the nearest key that it reads.

    :raises ConfigError: if it is no such file, or says something that the engine could not do.
    """
    content = text.encode() if isinstance(text, str) else text
    if len(content) > MAX_BYTES:
        raise ConfigError(f'the file has more than {MAX_BYTES} bytes: it is no input of the engine')
    try:
        given = YAML(typ='safe', pure=True).load(content)
    except (YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as exception:
        raise ConfigError(f'the file is not YAML: {" ".join(str(exception).split())[:300]}') from exception
    if not isinstance(given, Mapping) or not isinstance(given.get('potential'), Mapping):
        raise ConfigError('needed: the input of a fit, with the sections potential, data, fit and backend')
    return _Reader(given).read()


class _Reader:
    """Takes an input apart."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given: dict[str, Any] = _plain(given)
        self.notes: list[str] = []

    def read(self) -> InputFile:
        elements = list(self.given['potential'].get('elements') or ())
        energies = self._reference_energies(elements)
        test_fraction = self._test_fraction()
        for path, instead in PROVIDED.items():
            self._take(path, instead)
        self._weighting()
        self._noise()
        self._texts()
        self._unread()
        self.given['metadata'] = {key: str(value) for key, value in (self.given.get('metadata') or {}).items()}
        backend, key = self._section('backend.evaluator')
        if self.given['potential'].get('functions') is None and not backend.get(key):
            # A file of the engine without functions is incomplete, not the short form of an exact linear fit.
            self.given['evaluator'] = 'pyace'
        config = parse_config({key: value for key, value in self.given.items() if value is not None})
        if config.sections()['fit'].get('repulsion') == 'auto':
            self.notes.append(
                'fit.repulsion auto: the engine has its own ZBL, which goes with no other: give the baseline '
                "DeltaBaseline.for_elements(elements, mode='core')"
            )
        elif not any(bond.get('inner_cutoff_type') == 'zbl' for _, bond in _bonds(self.given)):
            self.notes.append(
                'baseline: give `default_baseline(dataset, orm.Bool(False))`, which ends below the shortest distances '
                'of the data and changes no label'
            )
        return InputFile(config, energies, test_fraction, tuple(self.notes))

    def _section(self, path: str) -> tuple[dict[str, Any], str]:
        *parents, key = path.split('.')
        section: Any = self.given
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        return (section, key) if isinstance(section, dict) else ({}, key)

    def _take(self, path: str, note: str) -> Any:
        """Take a key off and say so; None if it is not there or says nothing."""
        section, key = self._section(path)
        value = section.pop(key, None)
        if value is not None:
            self.notes.append(f'{path}: left out, {note}')
        return value

    def _reference_energies(self, elements: list[Any]) -> dict[str, float] | None:
        section, key = self._section('data.reference_energy')
        value = section.pop(key, None)
        if value is None:
            zero = dict.fromkeys(map(str, elements), 0.0)
            self.notes.append(
                'data.reference_energy: not given, so the engine fits the column `energy_corrected` of its data. For '
                f"the same fit, merge with keys={{'energy': 'energy_corrected'}} and give {zero} as the input "
                '`reference_energies`'
            )
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = {str(element): value for element in elements}
        if not isinstance(value, dict):
            self.notes.append(
                f'data.reference_energy {value}: left out, have them fitted with `fit_reference_energies(dataset, '
                'baseline)` or computed for isolated atoms, and give them as the input `reference_energies`'
            )
            return None
        wrong = {name: energy for name, energy in value.items() if not _is_number(energy)}
        if wrong:
            raise ConfigError(f'data.reference_energy: found {wrong}, needed: a number in eV for each element')
        self.notes.append(f'data.reference_energy: left out, give {value} as the input `reference_energies`')
        return {str(name): float(energy) for name, energy in value.items()}

    def _test_fraction(self) -> float | None:
        value = self._take(
            'data.test_size',
            'split the data with `split_frames(dataset, test_fraction=..., seed=...)` and give the second part as the '
            'input `test_dataset`, so that the test frames stay the same',
        )
        return float(value) if _is_number(value) and 0 < value < 1 else None

    def _weighting(self) -> None:
        weighting, _ = self._section('fit.weighting.type')
        if weighting.get('type') == 'ExternalWeightingPolicy' and 'filename' in weighting:
            self._take(
                'fit.weighting.filename',
                'weights come with the frames: merge with `weights`, or files that have them (w_energy, w_forces)',
            )
            self.given['fit']['weighting'] = {'type': 'ExternalWeightingPolicy'}
        for key in [key for key, value in weighting.items() if value in (None, 'None')]:
            # The engine takes the text for nothing, too.
            del weighting[key]

    def _noise(self) -> None:
        fit, _ = self._section('fit.fit_cycles')
        for name in _NOISES:
            if name in fit and (not fit[name] or (fit.get('fit_cycles') or 1) < 2):
                self._take(f'fit.{name}', 'it acts from the second cycle on, and there is one')
                fit.pop(name, None)

    def _texts(self) -> None:
        """Turn ``'True'`` into what the engine takes it for."""
        backend, key = self._section('backend.batch_size_reduction')
        if isinstance(backend.get(key), str):
            found = backend[key]
            # Any text is true for the engine.
            backend[key] = bool(found)
            self.notes.append(f'backend.{key}: {found!r} is text, which the engine takes as {str(bool(found)).lower()}')

    def _unread(self) -> None:
        """Leave out what the engine does not read."""
        for name in [name for name in self.given if name not in TrainerConfig.model_fields]:
            self._leave_out(name, list(TrainerConfig.model_fields))
        models: dict[str, type[Section]] = {**SECTIONS, 'fit.loss': Loss, 'fit.weighting': Weighting}
        for path, model in models.items():
            section, _ = self._section(f'{path}.x')
            known = [field.alias or name for name, field in model.model_fields.items()]
            for key in [key for key in section if key not in known and key not in model.refused]:
                self._leave_out(f'{path}.{key}', [f'{path}.{name}' for name in known])
        for bond_key, bond in _bonds(self.given):
            if 'NameofCutoffFunction' in bond:
                del bond['NameofCutoffFunction']
                self.notes.append(
                    f'potential.bonds.{bond_key}.NameofCutoffFunction: left out, {DEAD["NameofCutoffFunction"]}'
                )

    def _leave_out(self, path: str, known: list[str]) -> None:
        near = None if path in DEAD else near_miss(path.rsplit('.', maxsplit=1)[-1], known)
        self._take(path, DEAD.get(path) or 'the engine does not read it' + (f'; did you mean {near}?' if near else ''))


def _bonds(given: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    bonds = given['potential'].get('bonds')
    for key, bond in bonds.items() if isinstance(bonds, dict) else ():
        if isinstance(bond, dict):
            yield str(key), bond


def _plain(value: Any) -> Any:
    """Return nested values of which nothing is shared, so that they can be changed."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
