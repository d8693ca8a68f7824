"""Looking at the cache of a computer, putting it elsewhere and cleaning it, as a user does."""

from __future__ import annotations

import os
import time

import pytest
from aiida import orm
from command_line import call

from aiida_pacemaker.calculations.cache import CHECKSUM, NAME

TABLE, POTENTIAL = 'a' * 24 + '.pckl.gzip', 'b' * 64


@pytest.fixture
def computer(aiida_computer_local, tmp_path):
    computer = aiida_computer_local(label=f'cached-{tmp_path.name}')
    computer.set_workdir(str(tmp_path / 'work'))
    return computer


@pytest.fixture
def cache(tmp_path):
    """Return a cache with two files, one of which was used ten days ago, and with something else."""
    folder = tmp_path / 'work' / NAME
    folder.mkdir(parents=True)
    for name, days in ((TABLE, 10), (POTENTIAL, 1)):
        (folder / name).write_bytes(bytes(1500))
        (folder / f'{name}{CHECKSUM}').write_text('sum')
        os.utime(folder / f'{name}{CHECKSUM}', (time.time() - days * 86400 - 60,) * 2)
    (folder / 'notes.txt').write_text('of a person')
    return folder


def cache_command(*arguments):
    result = call('cache', *arguments)
    return result.exit_code, result.output.strip()


def test_showing(computer, cache):
    assert cache_command('show', computer.label) == (
        0,
        f'{cache} on `{computer.label}`: 2 files, 3 kB, unused for up to 10.0 days',
    )


def test_nothing_there(computer, tmp_path):
    assert cache_command('show', computer.label) == (0, f'{tmp_path}/work/{NAME} on `{computer.label}`: empty')
    assert cache_command('clean', computer.label)[1].endswith('0 files removed, 0 B')


def test_cleaning_takes_what_jobs_have_not_used(computer, cache):
    code, said = cache_command('clean', computer.label, '--unused-for', '5')
    assert (code, said) == (0, f'{cache} on `{computer.label}`: 1 files removed, 1.5 kB')
    assert {path.name for path in cache.iterdir()} == {POTENTIAL, f'{POTENTIAL}{CHECKSUM}', 'notes.txt'}


def test_cleaning_takes_nothing_else(computer, cache):
    assert cache_command('clean', computer.label)[0] == 0
    assert [path.name for path in cache.iterdir()] == ['notes.txt']


def test_putting_it_elsewhere_and_back(computer, cache, tmp_path):
    there = tmp_path / 'not there' / 'yet'
    assert cache_command('set', computer.label, f'{there}/') == (
        0,
        f'the cache on `{computer.label}` is {there} from the next job on',
    )
    assert cache_command('show', computer.label)[1].startswith(f'{there} on')
    code, said = cache_command('set', computer.label)
    assert code == 0
    assert said.endswith(f'in its work directory from the next job on; what is in {there} stays there')
    assert cache_command('show', computer.label)[1].startswith(f'{cache} on')


def test_directories_that_are_refused(computer, tmp_path):
    (tmp_path / 'file').write_text('')
    assert cache_command('set', computer.label, 'relative/path') == (
        1,
        'Error: `relative/path` is not an absolute path: give one that begins with `/`',
    )
    code, said = cache_command('set', computer.label, f'{tmp_path}/file/below')
    assert code == 1
    assert 'cannot be written to' in said
    assert cache_command('show', computer.label)[0] == 0


def test_a_computer_that_is_not_known(aiida_profile):
    code, said = cache_command('show', 'nowhere')
    assert code == 1
    assert 'AiiDA knows no computer `nowhere`' in said
    assert orm.QueryBuilder().append(orm.Computer, filters={'label': 'nowhere'}).count() == 0
