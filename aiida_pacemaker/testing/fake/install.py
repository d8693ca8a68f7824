"""Installing the fake engine: ``python -m aiida_pacemaker.testing.fake.install FOLDER``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

#: The programs of the engine that the fake one has.
PROGRAMS = ('pacemaker', 'pace_activeset', 'pace_select', 'pace_yaml2yace')

_PROGRAM = '#!/bin/sh\nexec {python} -m aiida_pacemaker.testing.fake.{program} "$@"\n'
#: The drivers that work with the equations of linear fits ask more of the engine than its stand-in has: there are
#: others in their place.
_PYTHON = (
    '#!/bin/sh\nPYTHONPATH={stub}${{PYTHONPATH:+:$PYTHONPATH}}\nexport PYTHONPATH\n'
    '[ "$1" = fit_linear.py ] && exec {python} -m aiida_pacemaker.testing.fake.fit_linear\n'
    '[ "$1" = select_posterior.py ] && exec {python} -m aiida_pacemaker.testing.fake.select_posterior\n'
    'exec {python} "$@"\n'
)


def install(folder: Path) -> dict[str, Path]:
    """Write the executables of the fake engine, and of a Python that finds a module `pyace`.

    They run the Python interpreter that writes them, and so need this package to stay installed there.

    :param folder: where to; it is made if it is not there.
    :returns: the executables by their names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    python = shlex.quote(sys.executable)
    scripts = {program: _PROGRAM.format(python=python, program=program) for program in PROGRAMS}
    scripts['python'] = _PYTHON.format(python=python, stub=shlex.quote(str(Path(__file__).parent / 'stub')))
    for name, script in scripts.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return {name: folder / name for name in scripts}


def main() -> None:
    """Install the fake engine in the folder that the command line names."""
    parser = argparse.ArgumentParser(description='Install the fake engine.')
    parser.add_argument('folder', type=Path, help='where to write the executables')
    for path in install(parser.parse_args().folder).values():
        print(path)


if __name__ == '__main__':
    main()
