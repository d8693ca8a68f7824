"""The equations of many structures, by several processes.

Processes, never threads: an evaluator of the engine that two threads use gives wrong numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import Any

import pyace

from .basis import Basis
from .equations import Equations
from .rows import Label, RowMaker
from .weighting import Weighting, formula_of

#: Structures that a process takes at once.
PORTION = 32

#: The name of a file, and which of its structures: from, to.
_Portion = tuple[str, int, int]
#: Reads structures with their labels from the file of this name.
Reader = Callable[[str], Iterator[tuple[Any, Label]]]


class Collector:
    """Computes the equations of files of structures.

    :param basis_file: the functions, as a B-basis `.yaml`, from which each process makes its own.
    :param read: reads a file; a function of a module, so that other processes can find it.
    :param weighting: of the equations.
    :param virial: whether stresses are fitted.
    :param n_workers: number of processes.
    """

    def __init__(
        self, basis_file: str, read: Reader, weighting: Weighting, *, virial: bool, n_workers: int = 1
    ) -> None:
        self._arguments = basis_file, read, weighting, virial
        self._n_workers = n_workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Collector:
        if self._n_workers > 1:
            # Not forked: threads of libraries would not survive it.
            self._pool = ProcessPoolExecutor(self._n_workers, get_context('spawn'), _begin, self._arguments)
        else:
            _begin(*self._arguments)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        _state.clear()

    def equations_of(self, name: str, n_structures: int, n_columns: int) -> Equations:
        """Return the equations of the structures of a file.

        :param n_structures: how many there are.
        :param n_columns: number of coefficients.
        :raises ValueError: or RuntimeError: if the engine cannot list the neighbours of one.
        :raises RuntimeError: if a process has died.
        """
        portions = [(name, start, start + PORTION) for start in range(0, n_structures, PORTION)]
        result = Equations(n_columns)
        for part in map(_equations, portions) if self._pool is None else self._by_processes(self._pool, portions):
            result.merge(part)
        return result

    def _by_processes(self, pool: ProcessPoolExecutor, portions: Iterable[_Portion]) -> Iterator[Equations]:
        """Iterate over the equations of portions, few of which are in memory at a time."""
        waiting: deque[Future[Equations]] = deque()
        try:
            for portion in portions:
                waiting.append(pool.submit(_equations, portion))
                if len(waiting) > 2 * self._n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as exception:
            raise RuntimeError('a process that computes equations has died; is there enough memory?') from exception


def leaves_out(weighting: Weighting, atoms: Any, label: Label) -> bool:
    """Return whether a structure is no part of the fit."""
    return label.weights is None and weighting.leaves_out(label.energy / len(atoms), formula_of(atoms))


#: What one process has: its functions, the file that it reads, and how many of its structures it has taken.
_state: dict[str, Any] = {}


def _begin(basis_file: str, read: Reader, weighting: Weighting, virial: bool) -> None:
    basis = Basis.of_configuration(pyace.BBasisConfiguration(basis_file))
    _state.update(
        read=read, maker=RowMaker(basis, weighting, virial=virial), name=None, structures=iter(()), position=0
    )


def _equations(portion: _Portion) -> Equations:
    name, start, end = portion
    if _state['name'] != name or _state['position'] > start:
        _state.update(name=name, structures=_state['read'](name), position=0)
    # Those before are the portions of other processes; none is kept.
    structures = islice(_state['structures'], start - _state['position'], end - _state['position'])
    _state['position'] = end
    maker: RowMaker = _state['maker']
    result = Equations(maker.basis.n_functions)
    result.add(
        maker.equations_of(atoms, label) for atoms, label in structures if not leaves_out(maker.weighting, atoms, label)
    )
    return result
