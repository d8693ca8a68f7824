"""The documentation against the code and against itself."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

from aiida_pacemaker.workflows.loop.generations import TableRow
from aiida_pacemaker.workflows.loop.table import loop_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
PAGES = sorted(
    path
    for path in [*DOCS.rglob('*.md'), ROOT / 'README.md', ROOT / 'CHANGELOG.md', ROOT / 'examples' / 'README.md']
    if '_build' not in path.parts
)
LINK = re.compile(r'\]\(([^)\s]+)\)')
FENCE = re.compile(r'^(<!-- runnable -->\n)?```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def page_id(path):
    return str(path.relative_to(ROOT))


def load(name, path):
    """Import a file as a module; it may import what is beside it."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def anchors(path):
    """Return the anchors of the headings of a page, as GitHub and MyST make them."""
    text = FENCE.sub('', path.read_text())
    headings = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def code(path, language='python'):
    """Return the blocks of code of a page, and whether each is marked as runnable."""
    return [(block, bool(mark)) for mark, name, block in FENCE.findall(path.read_text()) if name == language]


RUNNABLE = [path for path in PAGES if any(marked for _, marked in code(path))]


def test_reference_is_up_to_date():
    generate = load('docs_reference_generate', DOCS / 'reference' / 'generate.py')
    for name, content in generate.pages().items():
        path = DOCS / 'reference' / name
        assert path.read_text() == content, f'{page_id(path)}: run `python docs/reference/generate.py`'


@pytest.mark.parametrize('path', PAGES, ids=page_id)
def test_links(path):
    """Every link inside the repository leads to a file, and to a heading of it."""
    for link in LINK.findall(FENCE.sub('', path.read_text())):
        if link.startswith(('http://', 'https://')):
            continue
        name, _, anchor = link.partition('#')
        target = (path.parent / name).resolve() if name else path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index():
    linked = {(DOCS / link).resolve() for link in LINK.findall((DOCS / 'index.md').read_text()) if '://' not in link}
    assert {path for path in PAGES if path.is_relative_to(DOCS)} - {DOCS / 'index.md'} == linked


@pytest.mark.parametrize('path', [path for path in PAGES if code(path)], ids=page_id)
def test_code_compiles(path):
    for block, _ in code(path):
        compile(block, page_id(path), 'exec')


@pytest.mark.parametrize('path', RUNNABLE, ids=page_id)
@pytest.mark.usefixtures('aiida_profile')
def test_code_runs(path, tmp_path, monkeypatch):
    """The blocks that are marked as runnable run, one after the other as the reader would run them."""
    monkeypatch.chdir(tmp_path)
    name = f'docs_{path.stem}'
    # A file, since AiiDA keeps the source of functions and finds processes by the module that they are in.
    script = tmp_path / f'{name}.py'
    script.write_text('\n'.join(block for block, marked in code(path) if marked))
    load(name, script)


def test_lammps_lines_are_those_that_are_written():
    """What the page on baselines shows is what its code prints."""
    from aiida_pacemaker.baseline.lammps import to_lammps
    from aiida_pacemaker.baseline.model import DeltaBaseline

    lines = to_lammps(DeltaBaseline.for_elements(['Mg', 'O']), ['Mg', 'O'], 'mgo.yace')
    texts = [block for block, _ in code(DOCS / 'howto' / 'choose_a_baseline.md', 'text')]
    (shown,) = [text for text in texts if text.startswith('pair_style')]
    assert shown == ''.join(f'{line}\n' for line in lines.splitlines() if not line.startswith('#'))
    pairs = DeltaBaseline.for_elements(['Mg', 'O']).zbl.pairs
    assert ''.join(f'{pair.elements} {pair.inner} {pair.outer}\n' for pair in pairs) in texts


def test_exit_codes_that_pages_name_exist():
    """Where a page gives the status and the label of an exit code, the reference has both together."""
    reference = (DOCS / 'reference' / 'processes.md').read_text()
    known = set(re.findall(r'^\| (\d{3}) \| `(ERROR_\w+)`', reference, re.MULTILINE))
    named = set()
    for path in PAGES:
        if path.parent.name != 'reference':
            named |= set(re.findall(r'(\d{3})\s+`(ERROR_\w+)`', path.read_text()))
    assert len(named) > 20
    assert named <= known, sorted(named - known)


def test_stop_reasons_are_all_explained():
    from aiida_pacemaker.workflows.loop.decision import StopReason

    page = (DOCS / 'howto' / 'run_the_loop.md').read_text()
    assert re.findall(r'^\| `([A-Z_]+)` \|', page, re.MULTILINE) != []
    assert set(re.findall(r'^\| `([A-Z_]+)` \|', page, re.MULTILINE)) == {reason.name for reason in StopReason}


def test_faults_are_all_explained():
    from aiida_pacemaker.testing.faults import FAULTS

    page = (DOCS / 'howto' / 'test_your_workflow.md').read_text()
    table = re.findall(r'^\| (`.*?) \|', page, re.MULTILINE)
    assert {name for row in table for name in re.findall(r'`(\w+)`', row)} == set(FAULTS)


def test_reasons_of_runs_are_all_explained():
    from aiida_pacemaker.exploration.options import Reason

    page = (DOCS / 'howto' / 'explore.md').read_text()
    named = set(re.findall(r'^\| `([a-z_]+)` \|', page, re.MULTILINE))
    assert {reason.value for reason in Reason} <= named


def test_refusals_are_all_explained():
    from aiida_pacemaker.frames.checks import Reason

    page = (DOCS / 'topics' / 'datasets.md').read_text()
    assert [str(reason) for reason in Reason if f'`{reason}`' not in page] == []


def restart_chains():
    """Return all restart chains of this package, found by their entry points."""
    from aiida.engine import BaseRestartWorkChain
    from aiida.plugins import WorkflowFactory
    from aiida.plugins.entry_point import get_entry_point_names

    names = [name for name in get_entry_point_names('aiida.workflows') if name.startswith('pacemaker.')]
    return [chain for chain in map(WorkflowFactory, names) if issubclass(chain, BaseRestartWorkChain)]


def handlers_of(chain):
    """Return for each handler of a restart chain the class that has it, its name and its priority."""
    for name, handler in inspect.getmembers(chain, lambda member: hasattr(member, 'priority')):
        yield next(base for base in chain.__mro__ if name in vars(base)), name, handler.priority


def test_handlers_are_all_explained():
    """Each handler is in the table of the chain that defines it, and no table has others."""
    page = (DOCS / 'topics' / 'workflow_logic.md').read_text()
    chains = restart_chains()
    assert [chain.__name__ for chain in chains if not re.search(rf'\b{chain.__name__}\b', page)] == []
    # What all chains have comes before the first heading.
    common, *sections = re.split(r'^## ', page, flags=re.MULTILINE)
    handlers = set()
    for owner, name, priority in {handler for chain in chains for handler in handlers_of(chain)}:
        own = [section for section in sections if owner.__name__ in section.partition('\n')[0].split()]
        assert len(own) == (owner in chains), f'{owner.__name__} has {name}: is there a section for it?'
        handlers.add((own[0] if own else common, name, str(priority)))
    explained = {
        (section, name, priority)
        for section in (common, *sections)
        for name, priority in re.findall(r'^\| `(handle_\w+)` \((\d+)\) \|', section, re.MULTILINE)
    }
    assert len(explained) > 2
    assert {(section[:60], *rest) for section, *rest in handlers ^ explained} == set()


def test_protocols_are_all_explained():
    from aiida_pacemaker.workflows.loop.chain import PaceActiveLearningWorkChain
    from aiida_pacemaker.workflows.loop.settings import LoopSettings

    page = (DOCS / 'howto' / 'run_the_loop.md').read_text()
    for name in PaceActiveLearningWorkChain.get_available_protocols():
        inputs = PaceActiveLearningWorkChain.get_protocol_inputs(name)
        config, settings = inputs['config'], LoopSettings(**inputs['settings'])
        basis = config.get('linear', {}).get('basis', 'given')
        limits = f'{settings.max_generations} | {settings.frames_per_generation}'
        default = ' (default)' if name == PaceActiveLearningWorkChain.get_default_protocol() else ''
        assert f'| `{name}`{default} | {basis} | {config.get("max_order", 3)} | {limits} |' in page


def test_the_columns_of_a_loop_are_listed():
    """Neither the docstring of `loop_table` nor the table in the docs lacks a column or has one that is not there."""
    columns = set(TableRow.__annotations__)
    assert set(re.findall(r'`(\w+)`', (inspect.getdoc(loop_table) or '').split('The types are')[0])) >= columns
    page = (DOCS / 'howto' / 'run_the_loop.md').read_text()
    rows = page.split('| Column | Unit | What it is |\n| --- | --- | --- |\n')[1].split('\n\n')[0].splitlines()
    listed = [name for row in rows for name in re.findall(r'`(\w+)`', row.split('|')[1])]
    assert len(listed) == len(set(listed))
    assert set(listed) == columns
