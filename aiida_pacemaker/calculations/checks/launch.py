"""Checks before submission of how codes are launched: with MPI, for how long, and whether it is the right code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiida import orm

#: The jobs that run in the Python of the engine: one code serves them all.
SAME_PYTHON = frozenset(
    [
        'pacemaker.train.linear',
        'pacemaker.evaluate',
        'pacemaker.explore',
        'pacemaker.label.ase',
        'pacemaker.select.posterior',
    ],
)
#: What to do where the code for one kind of fit, or of selection, was given to the other.
OTHER_FIT = {
    'pacemaker.train': 'the evaluator of the config is one of `pacemaker`: give its code (`default_calc_job_plugin: '
    'pacemaker.train`), or set `evaluator: linear`, which is run by the Python of the engine',
    'pacemaker.train.linear': 'a linear fit is run by the Python of the engine: give its code (that of '
    '`pacemaker.evaluate`), or set another evaluator than `linear` for a fit by `pacemaker`',
    'pacemaker.select': 'the method of the options is maxvol, by `pace_select`: give its code, or set `method: '
    'posterior`, which is run by the Python of the engine',
    'pacemaker.select.posterior': 'a selection by the posterior is run by the Python of the engine: give its code '
    '(that of `pacemaker.evaluate`), or set `method: maxvol` for a selection by `pace_select`',
}
#: What to do about a code that is not to be called with MPI.
MAKE_ANOTHER = 'make a code with `with_mpi: false`'


def check_mpi(inputs: Mapping[str, Any], options: Mapping[str, Any], *, mpi: bool = False) -> str | None:
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


def check_computers(inputs: Mapping[str, Any]) -> str | None:
    """Return which code is on a computer that this profile cannot use, such as one that came with an archive.

    AiiDA notices it when it uploads the first job, with an exception.

    :param inputs: inputs of a job, or of what runs such jobs; all codes in them are looked at.
    """
    for path, code in _codes(inputs):
        computer = code.computer
        if computer is not None and not computer.is_configured:
            return (
                f'`{path}`: {code.full_label} is on the computer `{computer.label}`, which is not configured in this '
                'profile (those of imported archives are not): give codes of a computer that is, or run `verdi '
                f'computer configure {computer.transport_type} "{computer.label}"`'
            )
    return None


def check_limits(options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the time and the memory that are asked for."""
    for name, unit in (('max_wallclock_seconds', 'seconds'), ('max_memory_kb', 'kilobytes')):
        number = options.get(name)
        if number is not None and number <= 0:
            return f'`metadata.options.{name}` is {number}: ask for a number of {unit} above 0'
    return None


def check_program(inputs: Mapping[str, Any], plugin: str) -> str | None:
    """Return what is wrong with the codes of a job if they are those of another program of ours.

    The default plugin of a code says what it is for; codes without one, and codes of others, are taken as they are.

    :param inputs: inputs of the job.
    :param plugin: entry point of the job.
    """
    for name, fitting in (('code', SAME_PYTHON if plugin in SAME_PYTHON else {plugin}), ('yace_code', {None})):
        code = inputs.get(name)
        if code is None:
            continue
        its_own = code.default_calc_job_plugin
        if its_own is not None and its_own.startswith('pacemaker.') and its_own not in fitting:
            of_other = plugin in OTHER_FIT and its_own in (SAME_PYTHON | {'pacemaker.train', 'pacemaker.select'})
            advice = OTHER_FIT[plugin] if of_other else 'have codes been swapped? Give the right one'
            return (
                f'`{name}`: {code.full_label} is a code for `{its_own}`, not for `{plugin}`: {advice}, or a code with '
                'another `default_calc_job_plugin`'
            )
    return None


def _codes(inputs: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, orm.AbstractCode]]:
    for name, value in inputs.items():
        if isinstance(value, orm.AbstractCode):
            yield f'{prefix}{name}', value
        elif isinstance(value, Mapping):
            yield from _codes(value, f'{prefix}{name}.')
