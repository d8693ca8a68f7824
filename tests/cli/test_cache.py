"""Looking at the cache of a computer, putting it elsewhere and cleaning it, as a user does."""

from __future__ import annotations

import getpass
import os
import time

import pytest
from aiida import orm
from command_line import call

from aiida_pacemaker.calculations.cache import directory_name

TABLE, POTENTIAL = 'a' * 64, 'b' * 64
NAME = directory_name(getpass.getuser())


@pytest.fixture
def computer(aiida_computer_local, tmp_path):
    computer = aiida_computer_local(label=f'cached-{tmp_path.name}')
    computer.set_workdir(str(tmp_path / 'work'))
    return computer


@pytest.fixture
def cache(tmp_path):
    """Return a cache with two files, one of which was used ten days ago, and with something else."""
    folder = tmp_path / 'work' / NAME
    folder.mkdir(parents=True, mode=0o700)
    for name, days in ((TABLE, 10), (POTENTIAL, 1)):
        (folder / name).write_bytes(bytes(1500))
        os.utime(folder / name, (time.time() - days * 86400 - 60,) * 2)
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
    assert {path.name for path in cache.iterdir()} == {POTENTIAL, 'notes.txt'}


def test_cleaning_takes_nothing_else(computer, cache):
    assert cache_command('clean', computer.label)[0] == 0
    assert [path.name for path in cache.iterdir()] == ['notes.txt']


def test_what_is_left_of_copies_that_were_broken_off(computer, cache):
    """They are shown, and cleaned as soon as nobody can be at it any more."""
    for name, days in ((f'.{TABLE}.node1.77', 2), (f'.{POTENTIAL}.node2.78', 0)):
        (cache / name).write_bytes(bytes(500))
        os.utime(cache / name, (time.time() - days * 86400 - 60,) * 2)
    said = cache_command('show', computer.label)[1]
    assert ': 2 files, 4 kB' in said
    assert said.endswith('1 kB of it in 2 copies that did not come to their end')
    assert cache_command('clean', computer.label, '--unused-for', '50')[1].endswith('1 files removed, 500 B')
    assert {path.name for path in cache.iterdir()} == {TABLE, POTENTIAL, f'.{POTENTIAL}.node2.78', 'notes.txt'}


def test_a_cache_that_others_can_get_at(computer, cache, tmp_path):
    cache.chmod(0o770)
    for command in ('show', 'clean'):
        code, said = cache_command(command, computer.label)
        assert code == 1
        assert 'is open to other accounts (mode 770, needed: 700)' in said
    code, said = cache_command('set', computer.label, str(cache))
    assert code == 1
    assert 'mode 770' in said
    cache.chmod(0o700)
    link = tmp_path / 'link'
    link.symlink_to(cache)
    code, said = cache_command('set', computer.label, str(link))
    assert code == 1
    assert 'is a link or a file' in said


@pytest.mark.skipif(os.getuid() != 0, reason='only root can give a directory to another account')
def test_a_cache_of_another_account(computer, cache):
    os.chown(cache, 12345, -1)
    code, said = cache_command('show', computer.label)
    assert code == 1
    assert 'belongs to another account (number 12345, root is 0)' in said


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
    assert '`/` cannot be a cache' in cache_command('set', computer.label, '/')[1]
    code, said = cache_command('set', computer.label, f'{tmp_path}/file/below')
    assert code == 1
    assert 'cannot be written to' in said
    assert cache_command('show', computer.label)[0] == 0


def test_a_computer_that_is_not_known(aiida_profile):
    code, said = cache_command('show', 'nowhere')
    assert code == 1
    assert 'AiiDA knows no computer `nowhere`' in said
    assert orm.QueryBuilder().append(orm.Computer, filters={'label': 'nowhere'}).count() == 0
