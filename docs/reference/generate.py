"""Writes the reference pages beside this file from the code: `python docs/reference/generate.py`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import annotated_types
from aiida.engine import BaseRestartWorkChain, CalcJob, WorkChain
from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_points
from fault_table import recorded_runs, shown_by_tests
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from service_table import MATRIX_HEAD, NOT_TRIED, TESTS_HEAD, matrix, record, tests

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.base import STATUS, PaceCalcJob
from aiida_pacemaker.calculations.functions.datasets import FilterOptions, SplitOptions
from aiida_pacemaker.calculations.label_ase import AseCalculator
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.pace.config.trainer_config import TrainerConfig
from aiida_pacemaker.pace.output.failure_kinds import ENVIRONMENT
from aiida_pacemaker.sources.merge_options import MergeOptions
from aiida_pacemaker.sources.registry import CALCULATIONS, GROUP, all_sources, sources_by_process
from aiida_pacemaker.workflows.loop.settings import LoopSettings

HERE = Path(__file__).parent
NOTICE = '<!-- Written by generate.py from the code; change it there. -->'
OPTIONS = (
    MergeOptions,
    SplitOptions,
    FilterOptions,
    ActiveSetOptions,
    SelectOptions,
    ExploreOptions,
    LoopSettings,
    DeltaBaseline,
    AseCalculator,
)
#: What AiiDA itself gives each kind of process; its own documentation tells about these.
BASES = (CalcJob, WorkChain, BaseRestartWorkChain)

CODE_HEAD = ('Status', 'Label', 'Message')

Ports = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Return the content of each page by the name of its file."""
    return {
        'processes.md': _processes(),
        'config.md': _config(),
        'options.md': _options(),
        'faults.md': _faults(),
        'services.md': _services(),
        'sources.md': _sources(),
    }


def _processes() -> str:
    blocks = [
        NOTICE,
        '# Processes',
        'The inputs, outputs and exit codes of all entry points. The inputs, outputs and exit codes that AiiDA gives '
        'every `CalcJob`, `WorkChain` and `BaseRestartWorkChain` (`metadata`, `monitors`, `max_iterations`, ...) are '
        'left out. Exit codes of jobs: 3xx, the same inputs would fail again; 4xx, something can be done about it, by '
        'a restart chain or on the computer; 5xx, the programs ran, but what was asked for is not there.',
    ]
    for group, factory in (('aiida.workflows', WorkflowFactory), ('aiida.calculations', CalculationFactory)):
        for name in sorted(point.name for point in get_entry_points(group) if point.name.startswith('pacemaker.')):
            process = factory(name)
            blocks += _process(name, process) if inspect.isclass(process) else _function(name, process)
        if group == 'aiida.workflows':
            blocks += [
                '## Exit codes of all jobs',
                'What can become of any program on a computer. Each job also has those of its own program, listed with '
                'it.',
                _table(
                    CODE_HEAD,
                    [
                        _code(status, failure.label, failure.message)
                        for failure, status in sorted(STATUS.items(), key=lambda item: item[1])
                        if failure in ENVIRONMENT
                    ],
                ),
            ]
    return _page(blocks)


def _process(name: str, process: Any) -> Iterator[str]:
    yield f'## `{name}`'
    yield f'`{process.__module__}.{process.__name__}`. {_paragraphs(process)}'
    yield '**Inputs**'
    rows = [(f'`{path}`', _types(port), *_need(path, port)) for path, port in _flat(process.spec().inputs)]
    yield _table(('Input', 'Type', 'Needed', 'Meaning'), rows)
    yield '**Outputs**'
    outputs = [(f'`{path}`', _types(port), port.help or '') for path, port in _flat(process.spec().outputs)]
    yield _table(('Output', 'Type', 'Meaning'), outputs)
    if issubclass(process, PaceCalcJob):
        yield '**Exit codes**, besides those of all jobs'
        yield _exit_codes(process, CalcJob, {STATUS[failure] for failure in ENVIRONMENT})
    else:
        yield '**Exit codes**'
        yield _exit_codes(process, BaseRestartWorkChain, set())


def _function(name: str, function: Any) -> Iterator[str]:
    yield f'## `{name}`'
    yield f'`{function.__module__}.{function.__name__}`, a calculation function. {_paragraphs(function)}'
    rows = []
    for parameter in inspect.signature(function).parameters.values():
        many = parameter.kind is parameter.VAR_KEYWORD
        needed = 'no' if parameter.default is None else 'any number' if many else 'yes'
        rows.append((f'`{"**" if many else ""}{parameter.name}`', f'`{parameter.annotation}`', needed))
    yield _table(('Input', 'Type', 'Needed'), rows)


def _paragraphs(documented: Any) -> str:
    """Return the docstring of a process without its parameters, in which lines of code become quotations of code."""
    text = inspect.getdoc(documented) or ''
    return ' '.join(text.split(':param')[0].replace('``', '`').split())


def _flat(ports: Ports, prefix: str = '') -> Iterator[tuple[str, Any]]:
    for name, port in ports.items():
        if any(_is_inherited(base, name, port) for base in BASES):
            continue
        path = f'{prefix}{name}'
        if isinstance(port, Mapping) and not (port.dynamic and not port):
            yield from _flat(port, f'{path}.')
        else:
            yield path, port


def _is_inherited(base: Any, name: str, port: Any) -> bool:
    namespaces = (base.spec().inputs, base.spec().outputs)
    return name != 'code' and any(name in ports and ports[name].help == port.help for ports in namespaces)


def _types(port: Any) -> str:
    valid = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
    names = [f'`{one.__name__}`' for one in valid if one not in (None, type(None))]
    many = 'any number of ' if isinstance(port, Mapping) else ''
    return f'{many}{" or ".join(names) or "nodes"}'


def _need(path: str, port: Any) -> tuple[str, str]:
    """Return whether an input has to be given, and what it is."""
    if path.endswith('code') and port.help == CalcJob.spec().inputs['code'].help:
        # AiiDA lets it be left out for the import of a job that was run by hand.
        return 'yes', 'The code of the job.'
    has_default = getattr(port, 'has_default', bool)()
    return ('no, has a default' if has_default else 'yes' if port.required else 'no'), port.help or ''


def _exit_codes(process: Any, base: Any, shared: set[int]) -> str:
    known = shared | {code.status for code in base.spec().exit_codes.values()}
    codes = sorted(process.spec().exit_codes.items(), key=lambda item: item[1].status)
    rows = [_code(code.status, label, code.message) for label, code in codes if code.status not in known]
    return _table(CODE_HEAD, rows) if rows else 'None.'


def _code(status: int, label: str, message: str) -> tuple[str, str, str]:
    return str(status), f'`{label}`', message.replace('{{', '{').replace('}}', '}')


def _config() -> str:
    blocks = [
        NOTICE,
        '# TrainerConfig',
        'The input `config` of a training: a `Dict` with these keys. Unknown keys are refused, with the nearest known '
        'one. What is left out is expanded as `TrainerConfig.sections()` shows, or left to the engine, whose defaults '
        'are given here. [How to train one potential](../howto/train_one_potential.md) has examples.',
    ]
    for model in _models(TrainerConfig, []):
        blocks += _model(model, f'## `{model.__name__}`')
        refused = getattr(model, 'refused', {})
        if refused:
            blocks += [
                'Keys of the engine that are refused here:',
                _table(('Key', 'Reason'), [(f'`{key}`', reason) for key, reason in refused.items()]),
            ]
    return _page(blocks)


def _options() -> str:
    blocks = [
        NOTICE,
        '# Options',
        'The content of the `Dict` inputs that hold options. Unknown keys and values of another type are refused.',
    ]
    for options in OPTIONS:
        for model in _models(options, []):
            blocks += _model(model, f'{"##" if model is options else "###"} `{model.__name__}`')
    return _page(blocks)


def _sources() -> str:
    rows = []
    for source in all_sources():
        if type(source).__module__.startswith('aiida_pacemaker.'):
            processes = sorted(
                process.removeprefix(CALCULATIONS)
                for process, known in sources_by_process().items()
                if known is source and process.startswith(CALCULATIONS)
            )
            convention = source.convention
            rows.append(
                (
                    f'`{convention.name}`',
                    ', '.join(f'`{process}`' for process in processes) or 'ours, and functions of users',
                    convention.about,
                    ', '.join(f'`{name}`' for name in (*convention.energy, convention.forces, convention.stress)),
                    ', '.join(f'`{name}`' for name in source.unconverged_exits.values()) or '-',
                )
            )
    head = ('Convention', 'Jobs', 'Units, signs, coordinates', 'Arrays of labels, best energy first', 'Not converged')
    return _page(
        [
            NOTICE,
            '# Sources',
            'Whose trajectories are known, by the entry point of the job that made them: the classes of the group '
            f'`{GROUP}`. Those of other packages '
            '[join them](../howto/bring_your_data.md#trajectories-of-another-plugin).',
            _table(head, rows),
        ]
    )


def _faults() -> str:
    blocks = [
        '<!-- Written by generate.py from the tests; mark a test with `fault` to add to it. -->',
        '# Faults',
        'What can go wrong, what the plain engine or plain AiiDA does then, what happens here, and the test that shows '
        'it. Exit codes of work chains and jobs: [processes](processes.md).',
        '## On the way',
        _table(('Fault', 'Without this package', 'Here', 'Ends with', 'Test'), list(shown_by_tests())),
        '## Within the engine',
        'Each line is a recorded run of the real programs (`tests/fixtures`): what it did, with its last words, and '
        'what the parser makes of the files that it left.',
        _table(('Run', 'The plain engine', 'Exit code', 'Message', 'Test'), list(recorded_runs())),
    ]
    return _page(blocks)


def _services() -> str:
    recorded = record()
    blocks = [
        '<!-- Written by generate.py from the tests of services and services.json. To record anew: '
        '`pytest -m services --record-services=docs/reference/services.json`, then generate. -->',
        '# Services',
        'What the loop has been run on, from end to end, through the daemon and with the real engine. `pytest -m '
        'services` starts real servers on loopback and runs all of it; where a program is missing, the tests are '
        f'skipped, and say which package of Debian has it. AiiDA {recorded["aiida-core"]}, Python '
        f'{recorded["python"]}.',
        '## Matrix',
        'Storage and broker are those of the profile, transport and scheduler those of the computer. `same`: the '
        'engine is beside AiiDA. `other`: it is in an environment of its own, with other versions of NumPy and pandas, '
        f'as on a cluster. A cell leads to its test and says what became of it last; "{NOT_TRIED}": no test runs it.',
        _table(MATRIX_HEAD, list(matrix())),
        '## Tests',
        'Seconds are those of the test itself, on two cores that may have been busy with something else; trainings on '
        'Slurm are run side by side, before the first of their tests.',
        _table(TESTS_HEAD, list(tests())),
    ]
    return _page(blocks)


def _model(model: type[BaseModel], heading: str) -> Iterator[str]:
    yield heading
    yield (
        (inspect.getdoc(model) or '')
        .replace('``', '`')
        .replace(':meth:', '')
        .replace(':func:', '')
        .replace(':math:', '')
    )
    rows = []
    for name, field in model.model_fields.items():
        default = 'needed' if field.is_required() else f'`{field.get_default(call_default_factory=True)!r}`'
        rows.append((f'`{field.alias or name}`', _field_type(field), default, field.description or ''))
    if model.model_config.get('extra') == 'allow':
        extra = typing.get_args(typing.get_type_hints(model)['__pydantic_extra__'])[1]
        rows.append(('any other', _type(extra), '', 'by its name'))
    yield _table(('Key', 'Type', 'Default', 'Meaning'), rows)


def _field_type(field: FieldInfo) -> str:
    bounds = [text for item in field.metadata for text in _bounds(item)]
    return ', '.join([_type(field.annotation), *bounds])


def _bounds(item: Any) -> Iterator[str]:
    match item:
        case annotated_types.Gt():
            yield f'> {item.gt}'
        case annotated_types.Ge():
            yield f'≥ {item.ge}'
        case annotated_types.Lt():
            yield f'< {item.lt}'
        case annotated_types.Le():
            yield f'≤ {item.le}'


def _type(annotation: Any) -> str:
    """Return a type in words; models are links to their tables."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return _name(annotation)
    if origin is typing.Annotated:
        bounds = (text for item in arguments[1:] for text in _bounds(item))
        text = ', '.join([_type(arguments[0]), *bounds])
    elif origin in (typing.Union, types.UnionType):
        text = ' or '.join(_type(one) for one in arguments if one is not type(None))
    elif origin is typing.Literal:
        text = ' or '.join(f'`{value}`' for value in arguments)
    elif origin is dict:
        text = f'mapping to {_type(arguments[1])}'
    elif origin is tuple and arguments[-1] is not Ellipsis:
        count = 'pair' if len(arguments) == 2 else f'list of {len(arguments)}'
        text = f'{count} of {_type(arguments[0])}'
    else:
        text = f'list of {_type(arguments[0])}'
    return text


def _name(annotation: Any) -> str:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f'[{annotation.__name__}](#{annotation.__name__.lower()})'
    return 'anything' if annotation is Any else str(annotation.__name__)


def _models(model: type[BaseModel], found: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return a model and all that its fields consist of, each once."""
    if model in found:
        return found
    found.append(model)
    for hint in typing.get_type_hints(model, include_extras=True).values():
        for part in _parts(hint):
            if inspect.isclass(part) and issubclass(part, BaseModel):
                _models(part, found)
    return found


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple('---' for _ in head), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines)


def _page(blocks: list[str]) -> str:
    return '\n\n'.join(block.strip() for block in blocks) + '\n'


def main() -> None:
    """Write all pages."""
    for name, content in pages().items():
        (HERE / name).write_text(content, encoding='utf-8')


if __name__ == '__main__':
    main()
