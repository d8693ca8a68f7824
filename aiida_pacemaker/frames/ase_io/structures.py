"""Frames from structures of ASE, and structures of ASE from frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.writing import RESERVED_PREFIX
from aiida_pacemaker.frames.reading import Reading
from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.frames.weights import weights_of, with_weights_of

from .labels import Labels, labels_of


def from_atoms(
    images: Sequence[Atoms], source_key: str, *, labelled: bool | None = None, keys: LabelKeys | None = None
) -> Frames:
    """Return ASE structures as frames of one source.

    Labels are taken from the results of an attached calculator, which is never asked to calculate, or else from
    `info['energy']`, `arrays['forces']` and `info['stress']`, in the units and with the sign of ASE; a stress may be a
    matrix, its nine entries, or Voigt's six (xx, yy, zz, yz, xz, xy). A label that is missing is NaN. The energy is
    `free_energy` where there is one, since the forces are its derivatives, and the stress is -virial/volume where there
    is `virial` or `virials` and no stress. Weights in a fit are taken from `info['w_energy']` and `arrays['w_forces']`.

    :param images: the structures.
    :param source_key: key of the source of all of them.
    :param labelled: whether the frames get labels; by default they do if any structure has an energy or forces.
    :param keys: names of the labels, where these are not the usual ones.
    :raises ValueError: if a label has the wrong shape, if the results of a calculator belong to another structure, or
        if it cannot be told which of two labels is meant, or if only some structures have weights.
    """
    return reading_of(images, source_key, labelled=labelled, keys=keys).frames


def reading_of(
    images: Sequence[Atoms],
    source_key: str,
    *,
    labelled: bool | None = None,
    keys: LabelKeys | None = None,
    belonging: bool = True,
) -> Reading:
    """Return ASE structures as frames of one source, as :func:`from_atoms`, with what is to be said of their labels.

    :param belonging: whether results have to be shown to be those of their structure; not for structures that come
        from a file together with their results.
    """
    keys = keys or LabelKeys()
    _refuse_augmented(images)
    labels = (
        [] if labelled is False else [labels_of(image, i, keys, belonging=belonging) for i, image in enumerate(images)]
    )
    _check_named(images, keys, labels)
    if labelled is None:
        labelled = any(np.isfinite(found.energy) or np.isfinite(found.forces).any() for found in labels)
    steps = len(images)
    frames = Frames(
        n_atoms=np.array([len(image) for image in images], dtype=np.int64),
        numbers=_concatenate([image.numbers for image in images], (0,)).astype(np.int64),
        positions=_concatenate([image.positions for image in images], (0, 3)),
        cells=_concatenate([[image.cell[:]] for image in images], (0, 3, 3)),
        pbc=_concatenate([[image.pbc] for image in images], (0, 3)).astype(np.bool_),
        energy=np.array([found.energy for found in labels], dtype=np.float64) if labelled else None,
        forces=_concatenate([found.forces for found in labels], (0, 3)) if labelled else None,
        stress=_concatenate([[found.stress] for found in labels], (0, 3, 3)) if labelled else None,
        source_keys=(source_key,) if steps else (),
        source=np.zeros(steps, dtype=np.int64),
        step=np.arange(steps, dtype=np.int64),
        generation=np.zeros(steps, dtype=np.int64),
    )
    return Reading(
        with_weights_of(frames, images),
        warnings=tuple([*_remarks(labels, frames), *_other_weights(images)] if labelled else ()),
        missing={index: found.missing for index, found in enumerate(labels) if found.missing},
    )


def to_atoms(frames: Frames) -> list[Atoms]:
    """Return frames as ASE structures.

    Labels are attached as the results of a `SinglePointCalculator`, those that are NaN left out (of a stress the
    symmetric part, all that ASE keeps); the origin is in `info` as `source` (a key), `step` and `generation`, and
    weights are where :func:`from_atoms` looks for them.
    """
    images = []
    for frame, atoms in enumerate(frames.slices()):
        image = Atoms(
            numbers=frames.numbers[atoms],
            positions=frames.positions[atoms],
            cell=frames.cells[frame],
            pbc=frames.pbc[frame],
            info=origin(frames, frame),
        )
        weights = weights_of(frames, frame, atoms)
        if weights:
            image.info['w_energy'] = weights['w_energy']
            image.set_array('w_forces', weights['w_forces'])
        results = present_labels(frames, frame, atoms)
        if 'stress' in results:
            results['stress'] = full_3x3_to_voigt_6_stress(results['stress'])
        if results:
            image.calc = SinglePointCalculator(image, **results)
        images.append(image)
    return images


def origin(frames: Frames, frame: int) -> dict[str, Any]:
    """Return where a frame is from, as `info` of ASE has it."""
    return {
        'source': frames.source_of(frame),
        'step': int(frames.step[frame]),
        'generation': int(frames.generation[frame]),
    }


def present_labels(frames: Frames, frame: int, atoms: slice) -> dict[str, Any]:
    """Return those labels of a frame that have no NaN."""
    if frames.energy is None or frames.forces is None or frames.stress is None:
        return {}
    labels = {'energy': float(frames.energy[frame]), 'forces': frames.forces[atoms], 'stress': frames.stress[frame]}
    return {name: value for name, value in labels.items() if not np.isnan(value).any()}


def _check_named(images: Sequence[Atoms], keys: LabelKeys, labels: Sequence[Labels]) -> None:
    """Hold the names of labels against the structures.

    :raises ValueError: if a name is that of nothing in any structure.
    """
    for label, name in keys.model_dump(exclude_none=True).items():
        results = [{} if image.calc is None else getattr(image.calc, 'results', None) or {} for image in images]
        if labels and not any(
            name in result or name in image.info or name in image.arrays
            for image, result in zip(images, results, strict=True)
        ):
            found = next((label.missing for label in labels if label.missing), '')
            raise ValueError(f'no structure has `{name}`, which `keys` names for the {label}; {found}'.rstrip('; '))


def _remarks(labels: Sequence[Labels], frames: Frames) -> list[str]:
    """Return what is to be said of labels that are not simply those of the usual names."""
    remarks = []
    sizes = np.maximum(1, frames.n_atoms)
    shifts = np.array([found.extrapolation for found in labels]) / sizes[: len(labels)]
    if (shifts != 0).any():
        remarks.append(
            f'the energy of {np.count_nonzero(shifts)} frame(s) is the free energy, whose derivatives the forces are; '
            f'what is called `energy` differs by up to {np.abs(shifts).max() * 1e3:.3g} meV/atom'
        )
    virials = sorted({found.virial for found in labels if found.virial})
    for name in virials:
        count = sum(found.virial == name for found in labels)
        remarks.append(
            f"the stress of {count} frame(s) is -virial/volume of `{name}`; keys={{'virial': '{name}'}} says so"
        )
    for name in sorted({found.free for found in labels if found.free}):
        count = sum(found.free == name for found in labels)
        remarks.append(
            f'{count} frame(s) also have `{name}`, which differs from the energy that `keys` names: forces are '
            'derivatives of the free energy'
        )
    foreign = sum(found.foreign_stress for found in labels)
    if foreign:
        remarks.append(
            f'the stress of {foreign} frame(s) is under its plain name, the energy under another: make sure that they '
            'are of one calculation, and name the stress in `keys`'
        )
    left: dict[tuple[str, ...], int] = {}
    for found in labels:
        if found.left:
            left[found.left] = left.get(found.left, 0) + 1
    for names, count in left.items():
        remarks.append(f'{count} frame(s) have no stress, but {", ".join(names)}, which is not read: name it in `keys`')
    return remarks


def _other_weights(images: Sequence[Atoms]) -> list[str]:
    """Return what is to be said of weights by names of other programs (`config_weight`, ...), which are not read."""
    counts: dict[str, int] = {}
    for image in images:
        for name, value in {**image.info, **image.arrays}.items():
            if 'weight' in name.lower() and not np.array_equal(np.ravel(value), np.ones(np.size(value))):
                counts[name] = counts.get(name, 0) + 1
    return [
        f'{count} frame(s) have `{name}` other than 1, which is not read: all count alike. Give weights to the merge '
        '(`weights`), or in the file as `w_energy` and `w_forces`'
        for name, count in counts.items()
    ]


def _refuse_augmented(images: Sequence[Atoms]) -> None:
    """Refuse names that have a meaning for the engine which a dataset cannot carry.

    :raises ValueError: if there are any.
    """
    rows = [row for row, image in enumerate(images) if str(image.info.get('name', '')).startswith(RESERVED_PREFIX)]
    if rows:
        raise ValueError(
            f'{len(rows)} structures have names that begin with `{RESERVED_PREFIX}`, the first is structure {rows[0]}: '
            'the engine scales the weights of such frames down by 1e-4, here they would count as much as all others. '
            'Leave them out, or give them other names and the weights that they are to have'
        )


def _concatenate(parts: Sequence[Any], empty: tuple[int, ...]) -> FloatArray:
    return np.concatenate([np.empty(empty), *(np.asarray(part, dtype=np.float64) for part in parts)])
