"""The script that puts files in place, on a computer where other accounts can write: it takes nothing of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from aiida_pacemaker import drivers
from aiida_pacemaker.calculations.staging import LIST, LOST, SCRIPT

OURS, THEIRS = 23456, 34567
as_root = pytest.mark.skipif(os.getuid() != 0, reason='only root can be two accounts')
CONTENT = b'a table'
SUM = sha256(CONTENT).hexdigest()


class Job:
    """The folder of a job, in a work directory where everybody may write.

    :param workdir: the work directory.
    :param name: of the folder.
    :param account: number of the account that the job is of.
    """

    def __init__(self, workdir: Path, name: str, account: int | None) -> None:
        self.account = account
        self.folder = workdir / name
        self.folder.mkdir()
        shutil.copy(Path(drivers.__file__).parent / SCRIPT, self.folder)
        self.cache = workdir / 'cache'

    def own(self, *paths: Path) -> None:
        for path in paths if self.account is not None else ():
            os.chown(path, self.account, self.account)

    def run(self, *lines: str, sent: bytes | None = None, mode: int = 0o644) -> subprocess.CompletedProcess:
        """Run the script as its account."""
        (self.folder / LIST).write_text('\n'.join([f'cache {self.cache}', *lines, '']))
        if sent is not None:
            (self.folder / 'table').write_bytes(sent)
            (self.folder / 'table').chmod(mode)
        self.own(self.folder, *self.folder.iterdir())
        return subprocess.run(
            ['sh', SCRIPT],
            cwd=self.folder,
            capture_output=True,
            check=False,
            text=True,
            user=self.account,
            group=self.account,
        )

    @property
    def table(self) -> Path:
        return self.folder / 'table'

    def send(self, mode: int = 0o644) -> subprocess.CompletedProcess:
        return self.run(f'sent {SUM} table', sent=CONTENT, mode=mode)

    def take(self) -> subprocess.CompletedProcess:
        return self.run(f'held {SUM} table')

    @property
    def lost(self) -> str:
        return (self.folder / LOST).read_text()


@pytest.fixture
def job(tmp_path):
    """Return a function that makes a job of an account, by default that of the tests."""
    workdir = tmp_path / 'scratch'
    workdir.mkdir()
    workdir.chmod(0o1777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path('/'):
            parent.chmod(parent.stat().st_mode | 0o011)
    return lambda name, account=None: Job(workdir, name, account)


def test_sent_once_and_taken_by_another(job):
    first, second = job('first'), job('second')
    assert first.send().returncode == 0
    assert [path.name for path in first.cache.iterdir()] == [SUM]
    assert first.cache.stat().st_mode & 0o777 == 0o700
    assert second.take().returncode == 0
    assert second.table.samefile(first.table)
    assert second.table.stat().st_mode & 0o222 == 0


def test_what_has_another_content_is_not_taken(job):
    """Whatever stands beside it: the one who sends the job knows the checksum."""
    first, second = job('first'), job('second')
    first.send()
    planted = first.cache / SUM
    planted.unlink()
    planted.write_bytes(b'labels of somebody else')
    (first.cache / f'{SUM}.sha256').write_text(sha256(b'labels of somebody else').hexdigest())
    done = second.take()
    assert done.returncode == 1
    assert not second.table.exists()
    assert second.lost == 'held table was damaged in the cache\n'
    assert 'stage.sh lost: held table was damaged in the cache' in done.stderr
    # It is put right by the next that sends it, also where it could not be removed.
    planted.write_bytes(b'once more')
    assert second.send().returncode == 0
    assert planted.read_bytes() == CONTENT


@pytest.mark.parametrize('mode', [0o770, 0o755, 0o1777])
def test_a_cache_that_is_open_to_others_is_not_used(job, mode):
    first = job('first')
    first.send()
    first.cache.chmod(mode)
    assert first.take().returncode == 1
    assert 'is in a cache that is not of this account alone' in first.lost
    other = job('other')
    shutil.rmtree(first.cache)
    first.cache.mkdir()
    first.cache.chmod(mode)
    done = other.send()
    assert done.returncode == 0
    assert 'is not kept' in done.stdout
    assert list(other.cache.iterdir()) == []
    assert other.table.read_bytes() == CONTENT


def test_a_link_is_no_cache(job, tmp_path):
    first = job('first')
    (tmp_path / 'elsewhere').mkdir(mode=0o700)
    first.cache.symlink_to(tmp_path / 'elsewhere')
    assert 'is not kept' in first.send().stdout
    assert list(first.cache.iterdir()) == []


def test_a_file_that_others_could_write_to_is_copied(job):
    """Somebody may have opened it before its mode was changed, and write to it between its checksum and the program."""
    first, second = job('first'), job('second')
    (first.folder / 'table').write_bytes(CONTENT)
    (first.folder / 'table').chmod(0o666)
    with first.table.open('r+b') as opened:
        assert first.run(f'sent {SUM} table').returncode == 0
        opened.write(b'replaced')
    assert first.table.read_bytes() == CONTENT
    assert (first.cache / SUM).read_bytes() == CONTENT
    (first.cache / SUM).chmod(0o666)
    with (first.cache / SUM).open('r+b') as opened:
        assert second.take().returncode == 0
        opened.write(b'replaced')
    assert second.table.read_bytes() == CONTENT


@pytest.mark.fault(
    'another account plants files, or a whole cache, in a work directory that several accounts share',
    engine='-',
    here='a cache is a directory of one account alone; checksums are known to the profile, not to the computer',
    ends='success',
)
@as_root
def test_a_cache_that_another_account_has_made_first(job):
    theirs, ours = job('theirs', THEIRS), job('ours', OURS)
    assert theirs.send().returncode == 0
    done = ours.send()
    assert done.returncode == 0
    assert f'{ours.cache} is not a directory of' in done.stdout
    assert ours.table.read_bytes() == CONTENT
    assert [path.stat().st_uid for path in ours.cache.iterdir()] == [THEIRS]
    # Nor if it lets everybody in, and has the right files.
    theirs.cache.chmod(0o1777)
    (theirs.cache / SUM).chmod(0o644)
    assert ours.take().returncode == 1
    assert 'is in a cache that is not of this account alone' in ours.lost


@as_root
def test_a_file_of_another_account_is_copied(job):
    """With the right content it does no harm, but it is theirs to change."""
    first, second = job('first', OURS), job('second', OURS)
    first.send()
    os.chown(first.cache / SUM, THEIRS, THEIRS)
    (first.cache / SUM).chmod(0o644)
    assert second.take().returncode == 0
    assert not second.table.samefile(first.cache / SUM)
    assert second.table.stat().st_uid == OURS
    assert second.table.read_bytes() == CONTENT


def test_a_disk_that_is_full(job, tmp_path):
    """No part of a file stays in the cache, and what could not be put in place is told from what is gone."""
    full = tmp_path / 'bin'
    full.mkdir()
    for name in ('cp', 'ln'):
        (full / name).write_text('#!/bin/sh\nfor last; do :; done\necho part > "$last"\nexit 1\n')
        (full / name).chmod(0o755)
    first, second, third = (job(name) for name in ('first', 'second', 'third'))
    path = f'{full}:{os.environ["PATH"]}'
    for each, line in ((first, f'sent {SUM} table'), (third, f'held {SUM} table')):
        if each is third:
            second.send()
        (each.folder / LIST).write_text(f'cache {each.cache}\n{line}\n')
        if each is first:
            each.table.write_bytes(CONTENT)
        # Not even what is lost can be written down.
        (each.folder / LOST).mkdir()
        done = subprocess.run(
            ['sh', SCRIPT],
            cwd=each.folder,
            env={**os.environ, 'PATH': path},
            capture_output=True,
            check=False,
            text=True,
        )
        if each is first:
            assert 'could not be kept' in done.stdout
            assert list(each.cache.iterdir()) == []
            assert done.returncode == 0
        else:
            assert done.returncode == 1
            assert 'stage.sh lost: held table could not be put in place: is the disk full' in done.stderr
