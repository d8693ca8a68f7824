"""Which packages make an engine, and what is wrong with an environment that has others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field

#: The engine as pip takes it. `pyace` and `pacemaker` on PyPI are packages of other people.
ENGINE = 'python-ace==0.4.0rc1'
#: Versions of CPython that there are wheels of it for; without one, pip would need a compiler.
PYTHONS = ((3, 9), (3, 13))
#: What the evaluator `tensorpot` needs beside it on a CPU...
TENSORPOT = ('tensorflow-cpu<=2.20', 'numpy<2.4', 'pandas<3', 'pyyaml', 'sympy')
#: ... and what has to come without its dependencies, 6.8 GB of libraries for CUDA.
TENSORPOTENTIAL = 'tensorpotential==0.6.2.1'
#: Packages that go with the version of tensorpotential above, or an older one, up to these versions only.
LIMITS = {'numpy': (2, 4), 'pandas': (3,)}

PIP_ENGINE = f"pip install '{ENGINE}'"
PIP_TENSORPOT = f'pip install {" ".join(repr(name) for name in TENSORPOT)} && pip install --no-deps {TENSORPOTENTIAL}'
HOW_TO_INSTALL = (
    f'on localhost `aiida-pacemaker engine install` makes an environment for it, elsewhere `{PIP_ENGINE}` in a new one '
    'does (its licence is for academic, non-commercial use)'
)


class Answer(BaseModel):
    """What the Python of an engine says of itself (see `question.py`)."""

    model_config = ConfigDict(extra='ignore')

    python: str = Field(description='Version of Python.')
    engine: bool = Field(description='Whether there is a package `pyace` that is the engine.')
    tensorflow: bool = Field(description='Whether there is a package `tensorflow`.')
    versions: Mapping[str, str] = Field(description='Versions of the installed distributions by name.')

    @property
    def version(self) -> str | None:
        """The version of python-ace; older builds call themselves `pyace`."""
        return self.versions.get('python-ace', self.versions.get('pyace')) if self.engine else None

    @property
    def evaluators(self) -> tuple[str, ...]:
        """The evaluators that a fit can use there."""
        if not self.engine:
            return ()
        return ('pyace',) if any(_tensorpot_problems(self)) else ('pyace', 'tensorpot')

    @property
    def foreign(self) -> tuple[str, ...]:
        """Packages of other people that have the names of the engine and its program."""
        names = ('pacemaker',) if self.engine else ('pyace', 'pacemaker')
        return tuple(name for name in names if name in self.versions)


def problems_of(answer: Answer) -> list[str]:
    """Return what is missing or wrong in the environment of an engine, and how to get it; an empty list if nothing."""
    wrong = list(_tensorpot_problems(answer))
    if answer.foreign:
        names = ' and '.join(f'`{name}`' for name in answer.foreign)
        wrong.append(f'{names} from PyPI, of other people, is installed there too: `pip uninstall {answer.foreign[0]}`')
    return wrong


def no_engine(answer: Answer) -> str:
    """Return why a Python is not that of an engine, and what to do."""
    if answer.foreign:
        names = ' and '.join(f'`{name}`' for name in answer.foreign)
        return (
            f'it has {names} from PyPI, which belong to other people and are not the engine: '
            f'`pip uninstall {" ".join(answer.foreign)}`, then `{PIP_ENGINE}`'
        )
    return f'it has no package python-ace: `{PIP_ENGINE}`'


def _tensorpot_problems(answer: Answer) -> Iterator[str]:
    """Yield what keeps the evaluator `tensorpot` from working."""
    missing = [] if 'tensorpotential' in answer.versions else ['tensorpotential']
    missing += [] if answer.tensorflow else ['TensorFlow']
    if missing:
        yield (
            f'no evaluator tensorpot, which fits much faster: {" and ".join(missing)} missing. To have it, '
            f'`aiida-pacemaker engine install --tensorpot` on localhost, elsewhere `{PIP_TENSORPOT}`'
        )
    elif numbers(answer.versions['tensorpotential']) <= numbers(TENSORPOTENTIAL):
        for name, limit in LIMITS.items():
            if numbers(answer.versions.get(name, '0')) >= limit:
                bound = '.'.join(map(str, limit))
                yield (
                    f'no evaluator tensorpot: tensorpotential {answer.versions["tensorpotential"]} does not work with '
                    f"{name} {answer.versions[name]}. `pip install '{name}<{bound}'` there"
                )


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, `(2, 4, 0)` for `2.4.0rc1`; what is before `==` is left out."""
    found = re.match(r'\d+(\.\d+)*', version.rpartition('==')[2])
    return tuple(int(number) for number in found[0].split('.')) if found else ()
