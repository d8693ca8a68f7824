"""Whole folders of outputs, some files mutated: a parser ends in an exit code, and its outputs can be stored."""

import gzip
import json

import ase.io
import numpy as np
import pytest
from aiida import orm
from aiida.common import LinkType
from aiida.orm.implementation.utils import clean_value
from aiida.plugins import CalculationFactory, ParserFactory
from ase import Atoms
from guard import EXECUTION, examine
from mutation import Mutator
from readers import FIXTURES, all_readers, choice, corpora, endings, explorations, labels, mgo, npz

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.potential import PacePotentialData
from aiida_pacemaker.frames.ase_io import from_atoms

CASES = 60
EXAMPLE = FIXTURES.parents[1] / 'examples' / 'mgo-lda.extxyz'
GOOD = ('default', 'linear')
MEGABYTE = 1024**2
#: Files that come back for parsing only.
TEMPORARY = (
    *('selected.pkl.gz', 'selection.npz', 'train_pred.pckl.gzip', 'test_pred.pckl.gzip', 'evaluation_some.npz'),
    *('run_000000.npz', 'run_000000.trace', 'run_000000.kept', 'run_000000.edge', 'run_000000.log'),
    *('posterior.npz', 'frame_errors.npz', 'train_predictions.npz', 'test_predictions.npz'),
)


def folders(program, renamed=()):
    """Return the files of all recorded runs of a program, by the names that they have in a job."""
    # A good one comes first.
    runs = sorted(
        (path.parent for path in FIXTURES.glob(f'{program}/*/exit_status')), key=lambda run: run.name not in GOOD
    )
    return [{dict(renamed).get(path.name, path.name): path.read_bytes() for path in run.iterdir()} for run in runs]


def of_training():
    prediction = (FIXTURES / 'pickles' / 'engine-pandas-3.1.1-test_pred.pckl.gzip').read_bytes()
    return [{**files, 'train_pred.pckl.gzip': prediction} for files in folders('train')]


def of_evaluation():
    frames = mgo()
    arrays = {'energy': frames.energy, 'forces': frames.forces, 'stress': frames.stress}
    summary = json.dumps({'counts': {'some': 4}, 'seconds': 1.5, 'versions': {'pyace': '0.4.0rc1'}}).encode()
    gamma = np.ones(len(frames.numbers))
    return [{'evaluation.json': summary, 'evaluation_some.npz': npz(**arrays, gamma=gamma), 'exit_status': b'0\n'}]


def of_exploring():
    whole = {'runs.jsonl': endings()[0], 'run_000000.npz': explorations()[0], 'exploration.json': b'{"seconds": 1.5}'}
    return [{**whole, 'exit_status': b'0\n'}]


def of_selecting():
    summary = b'{"n_candidates": 6, "seconds": 1.5, "versions": {"pyace": "0.4.0rc1"}}'
    whole = {'selection.json': summary, 'selection.npz': choice()}
    return [{**whole, 'exit_status': b'0\n'}, {'selection.npz': choice(), 'stderr.txt': b'Killed\n'}]


def of_lammps():
    recorded = FIXTURES / 'lammps' / 'nvt'
    runs = [
        {f'run_000000{path.suffix}': path.read_bytes() for path in recorded.glob(f'{run}.[!d]*')}
        for run in ('run_000000', 'run_000001')
    ]
    return [{**runs[0], 'exit_status': b'0\n'}, {**runs[1], 'exit_status': b'0\n'}, runs[0]]


def of_labelling():
    whole = {'labels.jsonl': labels()[0], 'labels.json': b'{"seconds": 1.5, "versions": {"ase": "3.29"}}'}
    return [{**whole, 'exit_status': b'0\n'}, {'labels.jsonl': whole['labels.jsonl'], 'stderr.txt': b'Killed\n'}]


ASI = (('output_potential.asi', 'potential.asi'), ('output_potential.asi.nonlinear', 'potential.asi.nonlinear'))
FOLDERS = {
    'pacemaker.train': of_training(),
    'pacemaker.train.linear': folders('fit_linear'),
    'pacemaker.activeset': folders('activeset', ASI),
    'pacemaker.select': folders('select'),
    'pacemaker.select.posterior': of_selecting(),
    'pacemaker.evaluate': of_evaluation(),
    'pacemaker.explore': of_exploring(),
    'pacemaker.explore.lammps': of_lammps(),
    'pacemaker.label.ase': of_labelling(),
}


@pytest.fixture(scope='module')
def inputs(aiida_profile):
    """Return the inputs of a job of each kind."""
    energies = {'Mg': -27.441497613508435, 'O': -426.11747912713093}
    baseline = DeltaBaseline.for_elements(['Mg', 'O'])
    potential = PacePotentialData(
        (FIXTURES / 'train/default/output_potential.yaml').read_bytes(), baseline=baseline, reference_energies=energies
    )
    dataset = PaceDatasetData(mgo())
    short = {'elements': ['Mg', 'O'], 'r_cut': 4.5, 'max_deg': 3, 'max_order': 2}
    training = {
        'baseline': orm.Dict(baseline.model_dump(mode='json')),
        'reference_energies': orm.Dict(energies),
        'predict': orm.Bool(True),
    }
    fitted = [image for image in ase.io.read(EXAMPLE, ':') if 'rattle0.04' in image.info['label']]
    active_set = PaceActiveSetData((FIXTURES / 'activeset/linear/output_potential.asi').read_bytes())
    return {
        'pacemaker.train': {**training, 'config': orm.Dict({**short, 'evaluator': 'pyace'}), 'dataset': dataset},
        'pacemaker.train.linear': {
            **training,
            'config': orm.Dict({**short, 'evaluator': 'linear'}),
            'dataset': PaceDatasetData(from_atoms(fitted, 'mgo-lda')),
        },
        'pacemaker.activeset': {'potential': potential},
        'pacemaker.select': {'potential': potential, 'candidates__pool': dataset},
        'pacemaker.select.posterior': {
            'potential': potential,
            'candidates__pool': dataset,
            'options': orm.Dict({'method': 'posterior'}),
        },
        'pacemaker.evaluate': {'potential': potential, 'active_set': active_set, 'datasets__some': dataset},
        'pacemaker.explore': {
            **{
                'potential': potential,
                'active_set': active_set,
                'initial_structures': dataset,
                'random_seed': orm.Int(1),
            },
            'options': orm.Dict({}),
        },
        'pacemaker.label.ase': {
            'dataset': dataset,
            'calculator': orm.Dict({'calculator': 'ase.calculators.emt:EMT'}),
        },
        'pacemaker.explore.lammps': {
            **{
                'potential': potential,
                'active_set': active_set,
                'initial_structures': lammps_seed(),
                'random_seed': orm.Int(3),
            },
            'options': orm.Dict({**lammps_case()['options'], 'copies': 1}),
        },
    }


def lammps_case():
    return json.loads((FIXTURES / 'lammps' / 'nvt' / 'case.json').read_text())


def lammps_seed():
    """Return the structure that the first of the recorded runs began from."""
    return PaceDatasetData(from_atoms([Atoms(**lammps_case()['structures'][0])], 'lammps'))


@pytest.fixture(scope='module')
def job(aiida_profile, aiida_localhost_session, inputs):
    """Return a function that returns a stored job of a kind, the same one each time."""
    jobs = {}

    def make(entry_point):
        if entry_point not in jobs:
            process_type = CalculationFactory(entry_point).build_process_type()
            node = orm.CalcJobNode(computer=aiida_localhost_session, process_type=process_type)
            node.set_option('resources', {'num_machines': 1})
            node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
            for name, value in inputs[entry_point].items():
                node.base.links.add_incoming(value.store(), LinkType.INPUT_CALC, link_label=name)
            jobs[entry_point] = node.store()
        return jobs[entry_point]

    return make


@pytest.fixture(scope='module')
def aiida_localhost_session(aiida_profile, tmp_path_factory):
    computer = orm.Computer(
        'hostile', 'localhost', '', 'core.local', 'core.direct', str(tmp_path_factory.mktemp('work'))
    )
    return computer.store()


@pytest.fixture
def parse(job, tmp_path):
    """Return a function that parses files as a parser finds them, and checks that its outputs can be stored."""

    def run(entry_point, files, folders=()):
        process, node = CalculationFactory(entry_point), job(entry_point)
        retrieved = orm.FolderData()
        for name, content in files.items():
            if name in TEMPORARY:
                (tmp_path / name).write_bytes(content)
            else:
                retrieved.base.repository.put_object_from_bytes(content, name)
        for name in folders:
            retrieved.base.repository.put_object_from_bytes(b'', f'{name}/inside')
        parser = ParserFactory(entry_point)(node)
        # The files as they are, without the cost of storing a node for each case.
        parser.__dict__['repository'] = retrieved.base.repository
        code = parser.parse(retrieved_temporary_folder=str(tmp_path))
        known = {exit_code.status for exit_code in process.exit_codes.values()} | {0}
        assert code.status in known
        assert code.message is None or (len(code.message) <= 1000 and code.message.replace('\n', '').isprintable())
        for output in parser.outputs.values():
            output._validate()
            stored = json.dumps(clean_value(dict(output.base.attributes.all)), ensure_ascii=False, allow_nan=False)
            # What PostgreSQL does not take: NUL, and halves of characters.
            assert '\\u0000' not in stored
            stored.encode()
        return code, parser.outputs

    return run


@pytest.mark.fault(
    'files that come back cut, empty, binary or changed anywhere',
    engine='a traceback of the parser, the job excepted',
    here='an exit code; what can be used is attached (`benchmarks/fuzz.py`: 100,000 cases)',
    ends='an exit code',
)
@pytest.mark.parametrize('entry_point', FOLDERS)
def test_mutated_folders(parse, entry_point, tmp_path):
    others = corpora(all_readers())
    mutator = Mutator(len(entry_point), others)
    statuses = set()
    for case in range(CASES):
        files = dict(mutator.random.choice(FOLDERS[entry_point]))
        for name in mutator.random.sample(sorted(files), min(len(files), mutator.random.choice((1, 1, 2, 4)))):
            match mutator.random.randrange(8):
                case 0:
                    del files[name]
                case 1:
                    files[name] = files[mutator.random.choice(sorted(files))]
                case _:
                    files[name] = mutator.mutate(files[name])
        outcome = examine(
            lambda files=files: statuses.add(parse(entry_point, files)[0].status), (), forbidden=EXECUTION
        )
        assert outcome.verdict == 'accepted', f'case {case}: {outcome}'
    assert len(statuses) > 1


BOMB = 'species: [' + '1,' * 3_000_000 + ']'
NESTED = '{"seconds": 1, "versions": ' + '[' * 900 + ']' * 900 + '}'
#: Files that replace those of a good run.
BOMBS = {
    'pacemaker.train': {
        'potential': {'output_potential.yaml': BOMB.encode()},
        'control characters': {
            'output_potential.yaml': FOLDERS['pacemaker.train'][0]['output_potential.yaml'].replace(
                b'pyace_version: 0.4.0rc1', b'pyace_version: "\\0\\e[2J\\uFFFE"'
            )
        },
        'log': {'log.txt': b'2026/11/23 14:52:21 I - Fitting dataset size: ' + b'9' * 3000 + b' structures\n'},
        'log of dates': {'log.txt': b'2099/99/99 99:99:99 I - x\n'},
        'metrics': {'metrics.txt': b'loss ' * 2 * MEGABYTE},
        'numbers of frames': {
            'log.txt': b''.join(
                b'2026/11/23 14:52:21 I - ' + line + b'\n'
                for line in (
                    b'Search for dataset file(s)',
                    *[b'9' * 18 + b' structures found'] * 9,
                    b'Fitting dataset size: 1 structures',
                )
            )
        },
        'predictions': {'train_pred.pckl.gzip': gzip.compress(b'\x80\x04' + b']' * 500_000 + b'.')},
        'a long reason': {
            'output_potential.yaml': b'',
            'stderr.txt': b'Traceback (most recent call last)\n  x\nValueError: ' + b'\x1b[2J{0}\0' * 10_000 + b'\n',
        },
    },
    'pacemaker.train.linear': {
        'potential': {'output_potential.yaml': BOMB.encode()},
        'nested summary': {'linear_fit.json': b'{"a": ' + b'[' * 900 + b']' * 900 + b'}'},
        'functions': {
            'linear_fit.json': FOLDERS['pacemaker.train.linear'][0]['linear_fit.json'].replace(
                b'"Mg": ', b'"Mg": ' + b'9' * 400
            )
        },
        'texts': {
            'linear_fit.json': FOLDERS['pacemaker.train.linear'][0]['linear_fit.json'].replace(
                b'"pyace": "', b'"pyace": "\\u0000\\ud800\\u001b[2J'
            )
        },
        'metrics': {'metrics.txt': b'loss ' * 2 * MEGABYTE},
        'large file': {'posterior.npz': bytes(50 * MEGABYTE)},
    },
    'pacemaker.activeset': {
        'archive': {'potential.asi': b'PK\x05\x06' + bytes(18)},
        'elements': {
            'stderr.txt': b''.join(
                b'2026/11/23 14:52:21 I - Element: X%d, # atoms: 1, # B-func: 1, # projections: 1\n' % number
                for number in range(50_000)
            )
        },
    },
    'pacemaker.select': {
        'zeros': {'selected.pkl.gz': gzip.compress(bytes(100 * MEGABYTE))},
        'lists': {'selected.pkl.gz': gzip.compress(b'\x80\x04' + b']' * 19_000_000 + b'.')},
    },
    'pacemaker.select.posterior': {
        'nested summary': {'selection.json': NESTED.encode()},
        'texts': {'selection.json': b'{"seconds": "\\u0000", "versions": {"\\u0000": "\\ud800\\u001b[2J"}}'},
        'large file': {'selection.npz': bytes(50 * MEGABYTE)},
    },
    'pacemaker.evaluate': {
        'nested summary': {'evaluation.json': NESTED.encode()},
        'texts': {'evaluation.json': b'{"seconds": "\\u0000", "versions": {"\\u0000": "\\ud800\\u001b[2J"}}'},
        'large file': {'evaluation_some.npz': bytes(50 * MEGABYTE)},
    },
    'pacemaker.explore': {
        'nested summary': {'exploration.json': NESTED.encode()},
        'texts': {'exploration.json': b'{"seconds": "\\u0000", "versions": {"\\u0000": "\\ud800\\u001b[2J"}}'},
        'large file': {'run_000000.npz': bytes(50 * MEGABYTE)},
        'many lines': {'runs.jsonl': endings()[0] * 100_000},
    },
    'pacemaker.explore.lammps': {
        'large dump': {'run_000000.kept': bytes(50 * MEGABYTE)},
        'large trace': {'run_000000.trace': b'check ' * 10 * MEGABYTE},
        'large log': {'run_000000.log': b'ERROR: \x1b[2J' * 10 * MEGABYTE},
        'numbers': {'run_000000.trace': b'check ' + b'9' * 4000 + b' 1 1 1 1\n'},
        'seconds': {'run_000000.log': b'Total wall time: ' + b'9' * 5000 + b':00:00\n'},
        'end': {'run_000000.trace': b'end finished ' + b'9' * 4400 + b'\n'},
        'steps': {'run_000000.trace': b'check 99999999999999999999 1 1 1 1\n'},
        'expressions': {'run_000000.trace': b'check 0 ' + b'1' * 400 + b'x 1 1 1\n'},
    },
    'pacemaker.label.ase': {
        'nested summary': {'labels.json': NESTED.encode()},
        'texts': {'labels.json': b'{"seconds": "\\u0000", "versions": {"\\u0000": "\\ud800\\u001b[2J"}}'},
        'reason': {'labels.jsonl': b'{"frame": 0, "reason": "\\u0000\\ud800", "message": "\\u001b[2J\\u0000"}\n'},
        'seconds': {'labels.json': b'{"seconds": ' + b'9' * 4000 + b', "versions": {}}'},
    },
}


@pytest.mark.fault(
    'files that unpack to gigabytes, nest without end, or claim sizes that they do not have',
    engine='memory and time without bound',
    here='refused by their headers and by limits that follow from the inputs',
    ends='an exit code',
)
@pytest.mark.parametrize(
    ('entry_point', 'kind'), [(entry_point, kind) for entry_point, kinds in BOMBS.items() for kind in kinds]
)
def test_bombs(parse, entry_point, kind):
    files = {**FOLDERS[entry_point][0], **BOMBS[entry_point][kind]}
    outcome = examine(lambda: parse(entry_point, files), (), forbidden=EXECUTION)
    assert outcome.verdict == 'accepted', outcome
    assert outcome.memory < 200 * MEGABYTE


@pytest.mark.parametrize('entry_point', FOLDERS)
def test_folders_with_the_names_of_files(parse, entry_point):
    """A name that stands for a folder stands for no file."""
    for files in FOLDERS[entry_point][:3]:
        code, _ = parse(entry_point, {}, folders=sorted(set(files) - set(TEMPORARY)))
        assert code.status != 0
