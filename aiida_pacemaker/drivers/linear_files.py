"""The files that the driver of linear fits brings back from the computer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from aiida_pacemaker.errors import ArchiveError, LinearFitFileError, printable
from aiida_pacemaker.frames.archives import Archive, open_sized, read_arrays
from aiida_pacemaker.frames.table import FloatArray, IntArray

#: Arrays of a posterior.
POSTERIOR = ('coefficients', 'used', 'scale', 'root', 'calibration')
#: One more, which fits of earlier versions do not have: the inverse noise of rows of weight 1.
PRECISIONS = 'precisions'
#: Characters of a summary, at most: most of them are the shortest distances of pairs of elements.
_LONGEST = 4 * 1024**2


#: Text of a file, which may go into logs and databases.
Printable = Annotated[str, AfterValidator(printable)]


class CrossValidation(BaseModel):
    """Errors of frames that were left out of the fit.

    :param n_frames: frames that could be left out, the sample of `of` that is kept row by row.
    """

    model_config = ConfigDict(extra='ignore')

    n_frames: int
    of: int
    rmse_energy: float | None = None
    rmse_forces: float | None = None
    rmse_virial: float | None = None


class Dip(BaseModel):
    """By how much, in eV, the energy of two atoms alone falls below the data, and down to which distance (angstrom)."""

    model_config = ConfigDict(extra='ignore')

    depth: float
    distance: float


class Summary(BaseModel):
    """What a linear fit says of itself, as far as it is looked at here; units are eV, angstrom and atoms."""

    model_config = ConfigDict(extra='ignore')

    n_functions: dict[str, int]
    n_frames: int
    n_equations: dict[str, int]
    n_reused: int
    rmse: dict[str, float]
    energy_reference: float | dict[str, float]
    cross_validation: CrossValidation
    calibration: dict[str, dict[str, float] | None]
    #: By pairs of elements; none in summaries of earlier versions.
    dips: dict[Printable, Dip] = {}
    seconds: float
    versions: dict[Printable, Printable]


def read_summary(text: str) -> tuple[Summary, dict[str, Any]]:
    """Read the summary of a fit.

    :returns: what is looked at, and all of it as plain data.
    :raises LinearFitFileError: if it is no such summary.
    """
    if len(text) > _LONGEST:
        raise LinearFitFileError(f'it has {len(text)} characters; a summary has no more than {_LONGEST}')
    try:
        content = json.loads(text)
        return Summary.model_validate(content), content
    except ValidationError as exception:
        first = exception.errors()[0]
        place = '.'.join(map(str, first['loc']))
        raise LinearFitFileError(f'{place or "the content"}: {first["msg"]}') from exception
    except (ValueError, RecursionError) as exception:
        raise LinearFitFileError(f'it is not JSON: {exception}') from exception


def read_posterior(path: Path, n_functions: int) -> dict[str, Any]:
    """Read how uncertain the coefficients of a fit are.

    :param path: the `.npz` file.
    :param n_functions: number of coefficients K.
    :returns: `coefficients` (K,), `used` (U,), `scale` (U,), `root` (U, at most U) and `calibration` (2, 2); where it
        is there, `precisions` (3,).
    :raises LinearFitFileError: if it is damaged, or not about so many coefficients.
    """
    needed = 8 * n_functions * (n_functions + 3)
    try:
        with open_sized(path, needed, f'{n_functions} coefficients need {needed}') as archive:
            names = (*POSTERIOR, PRECISIONS) if PRECISIONS in archive.names else POSTERIOR
            arrays = {name: _numbers(archive, name) for name in names}
    except (OSError, ArchiveError) as exception:
        raise LinearFitFileError(f'{path.name} is damaged: {exception}') from exception
    used, root = arrays['used'], arrays['root']
    shapes_fit = (
        arrays['coefficients'].shape == (n_functions,)
        and used.dtype == np.int64
        and used.ndim == 1
        and arrays['scale'].shape == used.shape
        and root.ndim == 2
        and len(root) == len(used)
        and root.shape[1] <= len(used)
        and arrays['calibration'].shape == (2, 2)
        and not (arrays['calibration'] < 0).any()
        and (PRECISIONS not in arrays or (arrays[PRECISIONS].shape == (3,) and (arrays[PRECISIONS] >= 0).all()))
    )
    if not shapes_fit or (len(used) and (used[0] < 0 or used[-1] >= n_functions or (np.diff(used) <= 0).any())):
        raise LinearFitFileError(f'{path.name}: the arrays are not those of {n_functions} coefficients')
    return arrays


def _numbers(archive: Archive, name: str) -> Any:
    array = archive.read(name)
    # A calibration that is not there is NaN.
    known = name == 'calibration' or np.isfinite(array).all()
    if array.dtype not in (np.dtype(np.float64), np.dtype(np.int64)) or not known:
        raise ArchiveError(f'`{name}` is {array.dtype}, or not all of it is finite')
    return array.copy()


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Errors of single frames by a fit without them.

    :param frame: positions of the frames in the dataset, in ascending order, shape (F,).
    :param energy: eV/atom, shape (F,); NaN where the energy has no weight.
    :param forces: root mean square over components, eV/angstrom, shape (F,); NaN where they have no weight.
    :param leverage: number of parameters that each frame alone determines, shape (F,).
    """

    frame: IntArray
    energy: FloatArray
    forces: FloatArray
    leverage: FloatArray

    def worst(self, count: int) -> list[dict[str, float]]:
        """Return the frames with the largest errors of the forces, the largest first, as plain data."""
        order = np.argsort(-np.nan_to_num(self.forces, nan=-1.0), kind='stable')[:count]
        columns = {name: getattr(self, name)[order].tolist() for name in ('frame', 'energy', 'forces', 'leverage')}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def read_frame_errors(path: Path, n_frames: int, names: Sequence[str]) -> FrameErrors:
    """Read the errors of single frames.

    :param path: the `.npz` file.
    :param n_frames: number of frames that it is about.
    :param names: the name that each frame of the dataset was given to the fit with, its content hash.
    :raises LinearFitFileError: if it is damaged, or not about these frames.
    """
    expected: Mapping[str, Any] = {
        'name': (np.dtype('V64'), (n_frames,)),
        **dict.fromkeys(('energy', 'forces', 'leverage'), (np.float64, (n_frames,))),
    }
    arrays = read_arrays(path, expected, LinearFitFileError)
    places: dict[str, list[int]] = defaultdict(list)
    # Equal frames have equal names: each row is that of the next one.
    for place in range(len(names) - 1, -1, -1):
        places[names[place]].append(place)
    found = []
    for raw in arrays['name'].tolist():
        name = bytes(raw).rstrip(b'\0').decode('ascii', errors='replace')
        if not places.get(name):
            raise LinearFitFileError(f'{path.name}: {name!r} is none of the frames that are left')
        found.append(places[name].pop())
    order = np.argsort(found)
    columns = (arrays[name][order] for name in ('energy', 'forces', 'leverage'))
    return FrameErrors(np.array(found, dtype=np.int64)[order], *columns)


def read_linear_predictions(path: Path, n_frames: int, n_atoms: int) -> dict[str, FloatArray]:
    """Read what a fit predicts for a set of frames, in its order.

    :returns: `energy` (F,) in eV and `forces` (A, 3) in eV/angstrom.
    :raises LinearFitFileError: if the file is damaged, or if a number is not finite.
    """
    expected = {'energy': (np.float64, (n_frames,)), 'forces': (np.float64, (n_atoms, 3))}
    arrays = read_arrays(path, expected, LinearFitFileError)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise LinearFitFileError(f'{path.name}: not all predictions are finite')
    return arrays
