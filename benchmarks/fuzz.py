"""How the readers of files stand hostile files: none may run code, run away, or fail in any way but its own.

``python benchmarks/fuzz.py`` mutates recorded outputs of the engine, and files that this package and ASE write, 100,000
times (cut, flipped, spliced; headers, opcodes and numbers exchanged: see `tests/hostile/mutation.py`), and has each of
them read under watch: an audit hook stops and reports what is run, imported, opened or reached; a case has 5 seconds of
processor time and 512 MB of memory; the only error is the one that the reader is documented to raise, with a message
that is short and printable. It takes two minutes on one core. A case that fails is printed with its seed, by which
``--reader NAME --seed SEED --cases 1`` makes it again. The same with fewer cases is a part of the tests.

Linux only: the memory of a case is read from `/proc`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'tests' / 'hostile'))

from guard import Outcome, limit_memory
from readers import Reader, all_readers, case_of, corpora, examine_case

#: Of one kind of failure, so many cases are printed.
SHOWN = 3


@dataclass
class Score:
    """What became of the cases of one reader.

    :param verdicts: how many cases ended in each way.
    :param slowest: seconds of the slowest case.
    :param memory: bytes of the case that took the most.
    :param failures: how many failures there are of each kind.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> bool:
        """Count a case, and return whether it is to be shown."""
        self.verdicts[outcome.verdict] += 1
        self.slowest, self.memory = max(self.slowest, outcome.seconds), max(self.memory, outcome.memory)
        if not outcome.failed:
            return False
        kind = f'{outcome.verdict} {outcome.detail[:40]}'
        self.failures[kind] += 1
        return self.failures[kind] <= SHOWN


def fuzz(reader: Reader, seeds: Iterable[int], others: Sequence[bytes]) -> Score:
    """Have a reader read a mutated file for each seed."""
    for content in reader.corpus:
        # What is imported when it is first needed is imported now.
        examine_case(reader, content)
    score = Score()
    for seed in seeds:
        outcome = examine_case(reader, case_of(reader, seed, others))
        if score.add(outcome):
            print(f'{reader.name}, seed {seed}: {outcome.verdict}: {outcome.detail}', flush=True)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--cases', type=int, default=100_000, help='of all readers together')
    parser.add_argument('--seed', type=int, default=0, help='of the first case of each reader')
    parser.add_argument('--reader', help='only the readers whose names have this in them')
    arguments = parser.parse_args()
    readers = all_readers()
    others = corpora(readers)
    chosen = [reader for reader in readers if arguments.reader is None or arguments.reader in reader.name]
    count = -(-arguments.cases // len(chosen))
    limit_memory(2 * 1024**3)
    print(f'{"reader":<26}{"cases":>8}{"accepted":>10}{"refused":>9}{"failures":>10}{"slowest":>10}{"memory":>9}')
    start = time.monotonic()
    failures = 0
    for reader in chosen:
        score = fuzz(reader, range(arguments.seed, arguments.seed + count), others)
        failed = sum(score.failures.values())
        failures += failed
        print(
            f'{reader.name:<26}{count:>8}{score.verdicts["accepted"]:>10}{score.verdicts["refused"]:>9}{failed:>10}'
            f'{score.slowest:>8.2f} s{score.memory / 1e6:>6.0f} MB',
            flush=True,
        )
    print(f'{count * len(chosen)} cases, {failures} failures, {time.monotonic() - start:.0f} s')
    sys.exit(failures > 0)


if __name__ == '__main__':
    main()
