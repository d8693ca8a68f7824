"""How the fake engine takes in data: the checks of the real one, in its order and its words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from aiida_pacemaker.frames.neighbours import pairs
from aiida_pacemaker.frames.table import BoolArray, FloatArray, Frames
from aiida_pacemaker.testing.fake.basis import Potential
from aiida_pacemaker.testing.fake.physics import check_elements
from aiida_pacemaker.testing.fake.reporting import log, size_of
from aiida_pacemaker.testing.fake.tables import Labelled, concatenate, energy_column, forces_of, read, structures

#: Corrected energies outside of this range (eV/atom) are called extreme.
_SENSIBLE = (-20.0, 250.0)


class Loader:
    """Reads datasets for one fit.

    :param section: the section ``data`` of the input.
    :param potential: tells cutoff and elements.
    :param drops: whether the evaluator drops frames without neighbours in silence, as `tensorpot` does.
    """

    def __init__(self, section: Mapping[str, Any], potential: Potential, *, drops: bool) -> None:
        self._section = section
        self._potential = potential
        self._drops = drops
        #: Energies of single atoms in eV; None until known.
        self.reference_energy: dict[str, float] | None = None

    def load(self, key: str) -> Labelled | None:
        """Read the files under a key of the section, None if it is not there."""
        names = self._section.get(key)
        if not names:
            return None
        names = [names] if isinstance(names, str) else names
        log.info('Search for dataset file(s): %s', names)
        parts = []
        for number, name in enumerate(names, start=1):
            path = Path(self._section.get('datapath', ''), name)
            log.info('#%d/%d: try to load %s', number, len(names), path)
            if not path.exists():
                raise FileNotFoundError(2, 'No such file or directory', str(path))
            log.info('Loading dataframe from pickle file %s (%s)', path, size_of(path))
            parts.append(self._read(path))
        data = Labelled(
            concatenate([part.frames for part in parts]),
            np.concatenate([part.energy for part in parts]),
            np.concatenate([part.forces for part in parts]),
        )
        return self._with_neighbours(data)

    def split(self, data: Labelled) -> tuple[Labelled, Labelled | None]:
        """Split a test set off, if the section asks for it: evenly spread frames."""
        size = self._section.get('test_size')
        if not size:
            return data, None
        log.info('Splitting out test dataset (test_size = %s) from main dataset(%d samples)', size, len(data))
        count = round(size * len(data)) if size < 1 else int(size)
        tested = np.zeros(len(data), dtype=np.bool_)
        tested[np.linspace(0, len(data) - 1, count).astype(np.int64)] = True
        return data.select(~tested), data.select(tested)

    def _read(self, path: Path) -> Labelled:
        table = read(path)
        log.info(' %d structures found', len(table))
        column = energy_column(table)
        if column not in table.columns:
            raise ValueError('Column `energy` or `energy_corrected` not found in dataset')
        forces = forces_of(table)
        frames = structures(path)
        log.info('Processing structures dataframe. Shape: (%d, %d)', len(table), len(table.columns))
        log.info('Total number of atoms: %d', len(frames.numbers))
        energy = self._corrected(np.array(table.columns[column], dtype=np.float64), column, frames, table.columns)
        if np.isnan(energy).any():
            raise AssertionError('energy_corrected contains NaNs')
        if np.isnan(forces).any():
            raise AssertionError('forces column contains NaN')
        return Labelled(frames, energy, forces)

    def _corrected(self, energy: FloatArray, column: str, frames: Frames, columns: Mapping[str, Any]) -> FloatArray:
        """Return energies without those of the single atoms."""
        reference = self._section.get('reference_energy')
        if reference is None and 'energy_corrected' not in columns:
            raise ValueError("Neither 'energy_corrected' column nor 'data::reference_energy' option provided")
        if reference is None:
            given = np.array(columns['energy_corrected'], dtype=np.float64)
            if column != 'energy' or not _extreme(given, frames, recomputed=True):
                return given
            reference = 'auto'
        log.info("Reference energy is provided, constructing 'energy_corrected'")
        counts = np.stack([_count(frames, symbol) for symbol in frames.elements], axis=1)
        if self.reference_energy is None:
            self.reference_energy = _reference(reference, energy, counts, frames)
        log.info('Using %s as single-atom energies', self.reference_energy)
        single = np.array([self.reference_energy.get(symbol, 0.0) for symbol in frames.elements], dtype=np.float64)
        corrected: FloatArray = energy - counts @ single
        _extreme(corrected, frames, recomputed=False)
        return corrected

    def _with_neighbours(self, data: Labelled) -> Labelled:
        log.info('Construction of neighbour lists...')
        mixed = data.frames.pbc.any(axis=1) & ~data.frames.pbc.all(axis=1)
        if mixed.any():
            raise ValueError('Only fully periodic or non-periodic cell are supported')
        check_elements(self._potential, data.frames)
        present: BoolArray = np.ones(len(data), dtype=np.bool_)
        if self._drops:
            found = pairs(data.frames, self._potential.cutoff)
            present = np.bincount(found.frame, minlength=len(data)) > 0
        log.info('Dataframe size after transform: %d', int(present.sum()))
        return data.select(present)


def _count(frames: Frames, symbol: str) -> FloatArray:
    is_element = (frames.numbers == chemical_symbols.index(symbol)).astype(np.float64)
    return np.bincount(frames.frame_of_atom, is_element, minlength=len(frames)).astype(np.float64)


def _reference(reference: Any, energy: FloatArray, counts: FloatArray, frames: Frames) -> dict[str, float]:
    if isinstance(reference, Mapping):
        return {str(symbol): float(value) for symbol, value in reference.items()}
    if isinstance(reference, int | float):
        return dict.fromkeys(frames.elements, float(reference))
    log.info('Computing least-square energy shift and correction')
    fitted = np.linalg.lstsq(counts, energy, rcond=None)[0]
    return dict(zip(frames.elements, fitted.tolist(), strict=True))


def _extreme(corrected: FloatArray, frames: Frames, *, recomputed: bool) -> bool:
    """Tell, and say in a box, whether corrected energies are out of the sensible range."""
    per_atom = corrected / frames.n_atoms
    # NaN is neither, and is refused later.
    if not ((per_atom < _SENSIBLE[0]) | (per_atom > _SENSIBLE[1])).any():
        return False
    advice = (
        '`reference_energy` will be computed automatically.'
        if recomputed
        else 'Correct your energy or use data::reference_energy: auto option !!!'
    )
    lines = (
        f'Some values of corrected energy (min={per_atom.min():.0f} eV/atom, max={per_atom.max():.0f} eV/atom) '
        'are too extreme,',
        'i.e. <-20 eV/atom or >250 eV/atom',
        advice,
    )
    log.warning('\n%s\n%s\n%s', '#' * 90, '\n'.join(f'# {line:<86} #' for line in lines), '#' * 90)
    return True
