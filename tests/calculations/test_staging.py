"""Only what a computer does not have is sent to it; whatever becomes of what it had, no job reads anything else."""

from __future__ import annotations

import getpass
import gzip
import pickle
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_pacemaker import drivers
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.calculations import cache
from aiida_pacemaker.calculations.cache import SETTING, directory_name
from aiida_pacemaker.calculations.checksums import LOST as NOT_FOUND
from aiida_pacemaker.calculations.checksums import Checksums
from aiida_pacemaker.calculations.staging import LIST, SCRIPT, structure_files, training_files
from aiida_pacemaker.calculations.train import PaceTrainCalculation
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.drivers import tables
from aiida_pacemaker.frames.pickles.writing import Call, opcodes_of
from aiida_pacemaker.pace.output.potentials import strip_fit_cycles
from aiida_pacemaker.testing.fixtures import _codes

FIXTURES = Path(__file__).parents[1] / 'fixtures'
#: Done by the script of a job before its files are put in place: with all that an earlier job has left in the cache.
DAMAGE = 'for file in {cache}/*; do chmod u+w "$file"; echo damaged > "$file"; done'
LOSS = 'rm -rf {cache}'


class Place:
    """A computer with the fake engine.

    :param folder: its work directory.
    """

    def __init__(self, computer, fake_engine, folder):
        self.computer = computer
        self.folder = folder
        self.cache = folder / directory_name(getpass.getuser())
        programs = ('pacemaker', 'pace_activeset', 'pace_select', 'pace_yaml2yace', 'python')
        self.codes = _codes(computer, {program: fake_engine / program for program in programs})

    def set_cache(self, path):
        self.cache = path
        authinfo = self.computer.get_authinfo(orm.User.collection.get_default())
        authinfo.set_metadata({**authinfo.get_metadata(), SETTING: str(path)})

    def unlucky_code(self, mark, command):
        """Return a code of trainings that does something bad, once, before the files of the job are put in place."""
        return orm.InstalledCode(
            label='unlucky',
            computer=self.computer,
            filepath_executable=str(self.codes['train'].filepath_executable),
            prepend_text=f'[ -e {mark} ] || {{ {command}; touch {mark}; }}',
        ).store()

    def run(self, code, **inputs):
        process = CalculationFactory('pacemaker.evaluate' if code == 'python' else f'pacemaker.{code}')
        node = run_get_node(process, code=self.codes[code], **inputs).node
        assert node.is_finished_ok, node.exit_message
        return node

    def held(self):
        """Return the names of what is in the cache."""
        return {path.name for path in self.cache.iterdir()}

    def sum_of(self, name):
        """Return the checksum that the profile knows of a table."""
        return Checksums(self.computer).get(name)


@pytest.fixture
def place(aiida_computer_local, fake_engine, tmp_path_factory):
    """Return a function that returns a new computer with a cache of its own."""

    def make():
        folder = tmp_path_factory.mktemp('place')
        computer = aiida_computer_local(label=folder.name)
        # Earlier tests leave other work directories behind under the same label.
        computer.set_workdir(str(folder))
        return Place(computer, fake_engine, folder)

    return make


def staged(node):
    """Return what was done for each file of a job."""
    lines = node.base.repository.get_object_content(LIST).splitlines()[1:]
    return {line.split()[2]: line.split()[0] for line in lines}


def grown(dataset, others):
    return PaceDatasetData(others.select(range(10)), parents=[dataset]).store()


def test_a_generation_sends_only_what_is_new(place, train_inputs, dataset, others, lj_baseline):
    """Training, active set, evaluation and selection read what earlier jobs have sent or made."""
    here = place()
    first = here.run('train', **train_inputs())
    (old,) = training_files(dataset, lj_baseline).values()
    assert staged(first) == {old: 'sent'}
    assert len(here.held() - {here.sum_of(old)}) == 1

    bigger = grown(dataset, others)
    _, new = training_files(bigger, lj_baseline).values()
    potential = first.outputs.potential
    second = here.run('train', **train_inputs(dataset=bigger, potential=potential))
    assert staged(second) == {'initial_potential.yaml': 'held', old: 'held', new: 'sent'}

    potential = second.outputs.potential
    folder = second.outputs.remote_folder
    active = here.run('activeset', potential=potential, parent_folder=folder, options={'all_atoms': True})
    assert staged(active) == {'potential.yaml': 'held', 'fitting_data_info.pckl.gzip': 'from'}

    pool = PaceDatasetData(others.select(range(10, 30)).without_labels()).store()
    (candidates,) = structure_files(pool).values()
    known = {'potential': potential, 'active_set': active.outputs.active_set}
    evaluation = here.run('python', datasets={'train': bigger, 'pool': pool}, **known)
    assert staged(evaluation) == {
        'potential.yaml': 'held',
        'potential.asi': 'held',
        old: 'held',
        new: 'held',
        candidates: 'sent',
    }
    selection = here.run('select', candidates={'pool': pool}, **known)
    assert staged(selection) == {'potential.yaml': 'held', 'potential.asi': 'held', candidates: 'held'}


def test_candidates_are_taken_from_a_pool_that_is_there(place, train_inputs, dataset, others):
    """What is selected is the same as if they had been sent, also from several tables, in any order."""
    here = place()
    training = here.run('train', **train_inputs())
    potential = training.outputs.potential
    pool = PaceDatasetData([others.select(range(20)), others.select(range(20, 40))]).store()
    here.run('python', potential=potential, datasets={'pool': pool, 'train': dataset})
    mixed = PaceDatasetData(others.select([35, 3, 21, 7, 39, 0, 20, 12, 30])).store()
    inputs = {'potential': potential, 'candidates': {'mixed': mixed}, 'options': {'max_structures': 4}}
    taken = here.run('select', pool=pool, python=here.codes['python'], **inputs)
    assert set(staged(taken)) == {'potential.yaml', *structure_files(pool).values()}
    assert set(staged(taken).values()) == {'held'}
    sent = here.run('select', **inputs)
    assert staged(sent)[structure_files(mixed)[mixed.shards[0]['name']]] == 'sent'
    chosen = [node.outputs.indices.get_array('mixed').tolist() for node in (taken, sent)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 4

    # What is not all of the pool, or not where the computer is, is sent.
    more = PaceDatasetData(others.select(range(30, 60))).store()
    inputs['candidates'] = {'more': more}
    assert 'sent' in staged(here.run('select', pool=pool, python=here.codes['python'], **inputs)).values()
    there = place()
    assert 'sent' in staged(there.run('select', pool=pool, python=there.codes['python'], **inputs)).values()
    with pytest.raises(ValueError, match='`python` is on the computer'):
        there.run('select', pool=pool, python=here.codes['python'], **inputs)


def test_what_a_job_reads_is_its_own(place, train_inputs):
    """Neither cleaning the cache nor cleaning the folder of the job that sent a file takes it from another job."""
    here = place()
    first = here.run('train', **train_inputs())
    second = here.run('train', **train_inputs(max_epochs=2))
    (name,) = staged(second)
    path = Path(second.get_remote_workdir(), name)
    assert path.samefile(here.cache / here.sum_of(name))
    assert path.stat().st_mode & 0o222 == 0
    assert here.cache.stat().st_mode & 0o077 == 0
    content = path.read_bytes()
    first.outputs.remote_folder._clean()
    for file in here.cache.iterdir():
        file.unlink()
    assert path.read_bytes() == content


def test_another_computer_has_nothing(place, train_inputs):
    here, there = place(), place()
    here.run('train', **train_inputs())
    assert set(staged(there.run('train', **train_inputs())).values()) == {'sent'}


def test_another_baseline_makes_other_files(place, train_inputs):
    here = place()
    here.run('train', **train_inputs())
    other = DeltaBaseline.for_elements(['Mg', 'O']).model_dump(mode='json')
    assert set(staged(here.run('train', **train_inputs(baseline=other))).values()) == {'sent'}


def test_a_file_whose_checksum_is_not_known_is_sent_again(place, train_inputs):
    """The computer cannot say what a file is: the profile has to know it."""
    here = place()
    (name,) = staged(here.run('train', **train_inputs()))
    Checksums(here.computer).note({name: NOT_FOUND})
    assert staged(here.run('train', **train_inputs())) == {name: 'sent'}
    assert staged(here.run('train', **train_inputs(max_epochs=2))) == {name: 'held'}


@pytest.mark.parametrize('path', ["it's a cache; $(touch made)", '-cache/of `touch made`', 'deep/in "there"'])
def test_the_cache_can_be_elsewhere(place, train_inputs, tmp_path, path):
    here = place()
    here.set_cache(tmp_path / path)
    assert set(staged(here.run('train', **train_inputs())).values()) == {'sent'}
    second = here.run('train', **train_inputs(max_epochs=2))
    assert set(staged(second).values()) == {'held'}
    assert not list(here.folder.glob('pacemaker_cache*'))
    assert not Path(second.get_remote_workdir(), 'made').exists()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(place, train_inputs):
    here = place()
    here.cache.write_text('this is no directory')
    for epochs in (1, 2):
        assert set(staged(here.run('train', **train_inputs(max_epochs=epochs))).values()) == {'sent'}


def test_a_cache_that_cannot_be_read_costs_nothing_but_time(place, train_inputs, monkeypatch):
    here = place()
    here.run('train', **train_inputs())

    def broken(*arguments):
        raise OSError('the connection is gone')

    said = []
    monkeypatch.setattr(cache, 'directory_of', broken)
    monkeypatch.setattr(PaceTrainCalculation, 'report', lambda self, text, *_, **__: said.append(text))
    second = here.run('train', **train_inputs(max_epochs=2))
    assert set(staged(second).values()) == {'sent'}
    assert any('all files are sent' in text for text in said)


@pytest.mark.fault(
    'files of the dataset that the computer had are gone or damaged when the job begins',
    engine='some error of Python',
    here='`ERROR_FILES_LOST`, and the restart chain sends them again',
    ends='success',
)
@pytest.mark.parametrize(('what', 'said'), [(LOSS, 'is not in the cache any more'), (DAMAGE, 'was damaged')])
def test_the_worst_moment(place, train_inputs, tmp_path, what, said):
    """The cache is lost when the job has been sent without its files, and waits in the queue."""
    here = place()
    first = here.run('train', **train_inputs())
    code = here.unlucky_code(tmp_path / 'done', what.format(cache=here.cache))
    inputs = train_inputs(max_epochs=2)
    chain = run_get_node(WorkflowFactory('pacemaker.train.base'), pace={'code': code, **inputs}).node
    assert chain.is_finished_ok, chain.exit_message
    lost, repeated = chain.called
    assert lost.exit_status == 424
    assert said in lost.exit_message
    assert (set(staged(lost).values()), set(staged(repeated).values())) == ({'held'}, {'sent'})
    alone = place().run('train', **inputs)
    errors = [node.outputs.metrics['rmse_energy'] for node in (first, chain, alone)]
    assert errors[1] == errors[2] != errors[0]


def test_what_was_lost_is_sent_again_whatever_is_there(place, train_inputs):
    """A damaged file that comes back, or cannot be removed, does not stop one job after another."""
    here = place()
    (name,) = staged(here.run('train', **train_inputs()))
    kept = here.cache / here.sum_of(name)
    content = kept.read_bytes()
    kept.unlink()
    kept.write_text('planted')
    process, code = CalculationFactory('pacemaker.train'), here.codes['train']
    lost = run_get_node(process, code=code, **train_inputs(max_epochs=2)).node
    assert lost.exit_status == 424
    assert staged(lost) == {name: 'held'}
    kept.write_text('planted')
    assert staged(here.run('train', **train_inputs(max_epochs=2))) == {name: 'sent'}
    assert kept.read_bytes() == content
    assert staged(here.run('train', **train_inputs(max_epochs=3))) == {name: 'held'}


def test_a_cache_that_is_not_of_this_account_alone(place, train_inputs, monkeypatch, caplog):
    here = place()
    here.run('train', **train_inputs())
    here.cache.chmod(0o755)
    said = []
    monkeypatch.setattr(PaceTrainCalculation, 'report', lambda self, text, *_, **__: said.append(text))
    assert set(staged(here.run('train', **train_inputs(max_epochs=2))).values()) == {'sent'}
    assert any('is open to other accounts (mode 755, needed: 700)' in text for text in said)
    assert 'Exception whilst using transport' not in caplog.text


def test_what_did_not_arrive_as_it_was_sent(place, train_inputs, tmp_path):
    here = place()
    code = here.unlucky_code(tmp_path / 'done', 'echo cut > "$(ls *.pckl.gzip)"')
    chain = run_get_node(WorkflowFactory('pacemaker.train.base'), pace={'code': code, **train_inputs()}).node
    assert chain.is_finished_ok, chain.exit_message
    assert [job.exit_status for job in chain.called] == [424, 0]
    assert 'did not arrive as it was sent' in chain.called[0].exit_message


@pytest.mark.parametrize('what', [LOSS, DAMAGE])
def test_after_the_job_has_begun(place, train_inputs, what):
    """What it has in place by then, a cleaned cache does not take away; damage it shares, and the engine finds it."""
    here = place()
    here.run('train', **train_inputs())
    metadata = {'options': {'prepend_text': what.format(cache=here.cache)}}
    node = run_get_node(
        CalculationFactory('pacemaker.train'),
        code=here.codes['train'],
        metadata=metadata,
        **train_inputs(max_epochs=2),
    ).node
    assert node.is_finished_ok == (what == LOSS)
    if what == DAMAGE:
        assert node.exit_status == node.process_class.exit_codes.ERROR_DATASET_DAMAGED.status


@pytest.mark.fault(
    'the folder of the training is cleaned before the active set is built',
    engine='some error of Python',
    here='`ERROR_PARENT_FILES_LOST`, and the restart chain takes the dataset instead',
    ends='success',
)
def test_the_folder_of_the_training_is_gone(place, train_inputs):
    here = place()
    training = here.run('train', **train_inputs())
    # Behind the back of AiiDA, or it would be refused.
    Path(training.get_remote_workdir(), 'fitting_data_info.pckl.gzip').unlink()
    pace = {
        'code': here.codes['activeset'],
        'potential': training.outputs.potential,
        'parent_folder': training.outputs.remote_folder,
    }
    chain = run_get_node(WorkflowFactory('pacemaker.activeset.base'), pace=pace).node
    assert chain.is_finished_ok, chain.exit_message
    assert [job.exit_status for job in chain.called] == [425, 0]
    assert 'fitting_data_info.pckl.gzip is not there any more' in chain.called[0].exit_message
    assert 'held' in staged(chain.called[1]).values()


def test_a_potential_is_kept_as_a_fit_goes_on_from_it(tmp_path):
    content = (FIXTURES / 'train/plateau_tensorpot/interim_potential_best_cycle.yaml').read_text()
    stripped = strip_fit_cycles(content)
    assert stripped != content
    (tmp_path / 'potential.yaml').write_text(content)
    (tmp_path / LIST).write_text('cache cache\n')
    script = Path(drivers.__file__).parent / SCRIPT
    done = subprocess.run(['sh', script, 'keep', 'potential.yaml'], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == done.stderr == b''
    kept = {path.name: path.read_text() for path in (tmp_path / 'cache').iterdir()}
    assert kept == {sha256(text.encode()).hexdigest(): text for text in (content, stripped)}


def test_nothing_of_it_is_kept_in_the_provenance(place, train_inputs, dataset, lj_baseline):
    node = place().run('train', **train_inputs())
    (name,) = training_files(dataset, lj_baseline).values()
    assert name not in node.base.repository.list_object_names()


def test_a_dry_run_looks_nothing_up(place, train_inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = place()
    process = CalculationFactory('pacemaker.train')
    metadata = {'dry_run': True, 'store_provenance': False}
    run_get_node(process, code=here.codes['train'], metadata=metadata, **train_inputs())
    (script,) = tmp_path.glob('submit_test/*/_aiidasubmit.sh')
    assert 'sh stage.sh || exit 1' in script.read_text()


def test_the_driver_reads_what_the_engine_reads(tmp_path, rattled, lj_baseline):
    path = tmp_path / 'table.pckl.gzip'
    with path.open('wb') as handle:
        write_targets(rattled, handle, lj_baseline)
    structures = list(tables.read_tables([path, path]))
    assert len(structures) == 2 * len(rattled)
    assert np.array_equal(np.concatenate([atoms.positions for atoms in structures[: len(rattled)]]), rattled.positions)
    assert np.array_equal(structures[0].cell[:], rattled.cells[0])
    assert structures[0].pbc.all()


def test_the_driver_runs_nothing_else(tmp_path):
    path = tmp_path / 'table.pckl.gzip'
    with gzip.open(path, 'wb') as handle:
        handle.write(pickle.PROTO + bytes([4]))
        handle.writelines(opcodes_of(Call('os', 'system', f'touch {tmp_path}/made')))
        handle.write(pickle.STOP)
    with pytest.raises(pickle.UnpicklingError, match='has no place'):
        list(tables.read_tables([path]))
    assert not (tmp_path / 'made').exists()
