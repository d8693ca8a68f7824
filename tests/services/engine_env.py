"""The engine in an environment of its own, with other versions than beside AiiDA, as on a cluster."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from servers.missing import ServiceMissing

#: What is in the other environment.
REQUIREMENTS = ('python-ace==0.4.0rc1', 'numpy==2.0.2', 'pandas==2.2.2')

_VERSIONS = """
import importlib.metadata as metadata
print(', '.join(f'{name} {metadata.version(name)}' for name in ('python-ace', 'numpy', 'pandas')))
"""


def other_environment() -> Path:
    """Return the folder of the programs of the other environment, which is made once on this machine.

    :raises ServiceMissing: if it cannot be made, with what pip said.
    """
    recipe = ' '.join([sys.version, *REQUIREMENTS])
    folder = Path(tempfile.gettempdir()) / f'aiida-pacemaker-engine-{sha256(recipe.encode()).hexdigest()[:12]}'
    done = folder / 'done'
    # Workers of pytest-xdist and other runs of the tests wait for the one that makes it.
    with folder.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            # One that was left half made is made again.
            _call([sys.executable, '-m', 'venv', '--clear', '--without-pip', folder])
            pip = [sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', '--disable-pip-version-check']
            _call([*pip, 'install', '--quiet', *REQUIREMENTS])
            done.touch()
    return folder / 'bin'


def _call(command: list[str | Path]) -> None:
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServiceMissing(
            'NO OTHER ENVIRONMENT FOR THE ENGINE, SO NOTHING IS SAID ABOUT OTHER VERSIONS OF NUMPY AND PANDAS: '
            f'`pip install {" ".join(REQUIREMENTS)}` said {(made.stdout + made.stderr)[-300:]}'
        )


def same_environment() -> Path:
    """Return the folder of the programs beside AiiDA.

    :raises ServiceMissing: if the engine is not there.
    """
    folder = Path(sys.executable).parent
    if not (folder / 'pacemaker').exists():
        raise ServiceMissing('NO python-ace BESIDE AiiDA: pip install python-ace==0.4.0rc1')
    return folder


def versions(folder: Path) -> str:
    """Return the versions of an environment that matter."""
    return subprocess.run(
        [folder / 'python', '-c', _VERSIONS], capture_output=True, text=True, check=True
    ).stdout.strip()
