"""Calculation functions on potentials: import, further densities, draws, and what one was fitted with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.calling import ERROR_REFUSED
from aiida_pacemaker.calculations.posteriors import validate_posterior
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.errors import ConfigError, PotentialFileError, RefusedError
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace import densities, draws
from aiida_pacemaker.pace.config.potential_section import Embedding
from aiida_pacemaker.pace.imported_potentials import origin_of, read_companion
from aiida_pacemaker.pace.output.potentials import MAX_BYTES


@calcfunction
def import_potential(
    file: orm.SinglefileData,
    c_tilde: orm.SinglefileData | None = None,
    reference_energies: orm.Dict | None = None,
    baseline: orm.Dict | None = None,
) -> PacePotentialData | ExitCode:
    """Make a potential of a B-basis file that was fitted elsewhere.

    What the file says of itself (atomic reference energies, ZBL core) is taken, and held against what is given.
    The baseline has to be given where the file cannot say it: `{"mode": "none"}` if nothing was subtracted from the
    labels.
    """
    try:
        content = _content(file)
        energies, found = origin_of(
            content,
            None if reference_energies is None else reference_energies.get_dict(),
            None if baseline is None else baseline.get_dict(),
        )
        return PacePotentialData(
            content,
            c_tilde=None if c_tilde is None else _content(c_tilde),
            baseline=found,
            reference_energies=energies,
        )
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))


@calcfunction
def add_densities(potential: PacePotentialData, embedding: orm.Dict) -> PacePotentialData | ExitCode:
    """Return a potential of an exact linear fit with further densities, which are zero: where a refinement begins.

    Energies, forces, functions, ZBL core, baseline and reference energies are the same. A training that continues from
    it (`potential_mode` `continue`) fits the coefficients of all densities. The training makes its `.yace`.

    :param potential: linear in one density.
    :param embedding: as in `potential.embeddings` of the config: `npot`, and `fs_parameters`, prefactor and exponent of
        each density, such as `[1, 1, 1, 0.5]`; the first exponent is 1, the others are between 0 and 1.
    """
    try:
        parsed = parse_options(Embedding, embedding.get_dict(), '`embedding`')
        content = _with_densities(potential, parsed)
        return PacePotentialData(content, baseline=potential.baseline, reference_energies=potential.reference_energies)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))


@calcfunction
def draw_potential(
    potential: PacePotentialData, posterior: orm.ArrayData, seed: orm.Int
) -> PacePotentialData | ExitCode:
    """Return a potential whose coefficients are drawn from the posterior of an exact linear fit.

    Draws with several seeds are an ensemble without further fits: the spread of its forces is the error bar, up to the
    part that is the same everywhere (the offset of the calibration). Functions, ZBL core, baseline and reference
    energies are those of the potential. There is no `.yace`: `pace_yaml2yace` makes one of the `.yaml`.

    :param potential: of an exact linear fit.
    :param posterior: output of the same fit. Its calibrated factor of the forces multiplies the standard deviations.
    :param seed: of the random numbers.
    """
    try:
        if problem := validate_posterior(posterior, None):
            raise RefusedError(problem)
        mean, used, scale, root = (posterior.get_array(name) for name in ('coefficients', 'used', 'scale', 'root'))
        factor = float(posterior.get_array('calibration')[1, 0])
        drawn = draws.draw_coefficients(mean, used, scale, root, factor=factor, seed=seed.value)
        try:
            content = draws.with_coefficients(potential.get_b_basis(), mean, drawn)
        except PotentialFileError as exception:
            raise RefusedError(f'the potential: {exception}') from exception
        return PacePotentialData(content, baseline=potential.baseline, reference_energies=potential.reference_energies)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))


@calcfunction
def baseline_of(potential: PacePotentialData) -> orm.Dict:
    """Return the baseline that a potential was fitted on."""
    return orm.Dict(potential.baseline.model_dump(mode='json'))


@calcfunction
def reference_energies_of(potential: PacePotentialData) -> orm.Dict:
    """Return the atomic reference energies that a potential was fitted with."""
    return orm.Dict(potential.reference_energies)


def import_potential_file(
    path: str | Path,
    *,
    c_tilde: str | Path | None = None,
    reference_energies: Mapping[str, float] | None = None,
    baseline: DeltaBaseline | Mapping[str, Any] | None = None,
) -> PacePotentialData:
    """Import a potential from a file, with provenance.

    Files that `write_files` has written need no more than their path: what belongs to them stands in
    `<stem>.baseline.json` beside them, and their `.yace` is taken too.

    :param path: the B-basis `.yaml`.
    :param c_tilde: the `.yace` that was made of it, if any.
    :param reference_energies: atomic reference energy (E0) in eV of each element of which the file says nothing.
    :param baseline: what was subtracted from the labels; `DeltaBaseline(mode='none')` if nothing was.
    :returns: the potential; its creator is the import, whose inputs are the files and what was said of them.
    :raises RefusedError: if the file is no potential, if it contradicts what is given, or if something is missing.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        beside = read_companion(path)
    except (OSError, ValueError) as exception:
        raise RefusedError(f'{path}: {exception}') from exception
    if beside is not None:
        reference_energies = beside.reference_energies if reference_energies is None else reference_energies
        baseline = beside.baseline if baseline is None else baseline
        tilde = path.with_suffix('.yace')
        c_tilde = tilde if c_tilde is None and tilde.is_file() else c_tilde
    given: dict[str, orm.Data] = {'file': _node(path, content)}
    if c_tilde is not None:
        try:
            given['c_tilde'] = _node(Path(c_tilde), Path(c_tilde).read_bytes())
        except OSError as exception:
            raise RefusedError(f'{c_tilde}: {exception}') from exception
    if reference_energies is not None:
        given['reference_energies'] = orm.Dict(dict(reference_energies))
    if baseline is not None:
        plain = baseline.model_dump(mode='json') if isinstance(baseline, DeltaBaseline) else dict(baseline)
        given['baseline'] = orm.Dict(plain)
    potential, node = import_potential.run_get_node(**given)
    if not node.is_finished_ok:
        raise RefusedError(f'{path}: {node.exit_message} (process {node.pk})')
    imported: PacePotentialData = potential
    return imported


def _with_densities(potential: PacePotentialData, embedding: Embedding) -> bytes:
    """Return the B-basis of a potential with the densities of an embedding.

    :raises ValueError: if the embedding is none for it, or the potential is not linear.
    """
    further = sorted(set(embedding.model_dump(exclude_none=True)) - {'npot', 'fs_parameters', 'ndensity'})
    if further:
        raise ConfigError(f'`embedding`: {", ".join(further)} stay those of the potential; leave them out')
    parameters = embedding.fs_parameters
    if embedding.ndensity is not None and 2 * embedding.ndensity != len(parameters or ()):
        raise ConfigError(
            f'`embedding`: found ndensity {embedding.ndensity} and {len(parameters or ())} fs_parameters, needed: two '
            'for each density'
        )
    try:
        return densities.add_densities(potential.get_b_basis(), embedding.npot, parameters)
    except PotentialFileError as exception:
        raise PotentialFileError(f'the potential: {exception}') from exception
    except ConfigError as exception:
        raise ConfigError(f'`embedding`: {exception}') from exception


def _node(path: Path, content: bytes) -> orm.SinglefileData:
    return orm.SinglefileData(io.BytesIO(content), filename=path.name)


def _content(file: orm.SinglefileData) -> bytes:
    """Return the content of a file; of one that is too large, so much that its reader refuses it."""
    with file.open(mode='rb') as handle:
        return bytes(handle.read(MAX_BYTES + 1))
