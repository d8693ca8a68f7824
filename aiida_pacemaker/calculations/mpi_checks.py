"""Checks before submission of what is asked for with MPI. None of the programs but LAMMPS uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiida import orm

#: What to do about a code that is not to be called with MPI.
MAKE_ANOTHER = 'make a code with `with_mpi: false`'


def complaint_about_mpi(inputs: Mapping[str, Any], options: Mapping[str, Any], *, mpi: bool = False) -> str | None:
    """Return what is wrong with how codes are to be launched.

    AiiDA notices such a contradiction too, but only when it uploads the job, and with an exception. A program without
    MPI would be run several times at once in one folder.

    :param inputs: inputs of a job, or of what runs such jobs; all codes in them are looked at.
    :param options: options of the job (`metadata.options`).
    :param mpi: whether the program is one of MPI.
    """
    wanted = bool(options.get('withmpi', False))
    if wanted and not mpi:
        return (
            '`metadata.options.withmpi` is True, but the program is no MPI program: leave it out. For more cores ask '
            'for `num_cores_per_mpiproc`, and set OMP_NUM_THREADS in `environment_variables`'
        )
    for path, code in _codes(inputs):
        if code.with_mpi and not mpi:
            return f'`{path}`: {code.full_label} has `with_mpi: true`, but it is no MPI program: {MAKE_ANOTHER}'
        if code.with_mpi is not None and code.with_mpi != wanted and mpi:
            return (
                f'`{path}`: {code.full_label} has `with_mpi: {str(code.with_mpi).lower()}` but '
                f'`metadata.options.withmpi` is {wanted}: make them agree'
            )
    return None


def _codes(inputs: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, orm.AbstractCode]]:
    for name, value in inputs.items():
        if isinstance(value, orm.AbstractCode):
            yield f'{prefix}{name}', value
        elif isinstance(value, Mapping):
            yield from _codes(value, f'{prefix}{name}.')
