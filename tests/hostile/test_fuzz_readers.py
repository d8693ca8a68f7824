"""Mutated files, a few for each reader: they are read or refused, and nothing else. `benchmarks/fuzz.py` has more."""

import pytest
from readers import all_readers, case_of, corpora, examine_case

READERS = all_readers()
CASES = 95


@pytest.mark.parametrize('reader', READERS, ids=lambda reader: reader.name)
def test_good_files_are_accepted(reader):
    for content in reader.corpus[:40]:
        outcome = examine_case(reader, content)
        assert outcome.verdict == 'accepted', (content[:200], outcome)


@pytest.mark.parametrize('reader', READERS, ids=lambda reader: reader.name)
def test_mutated_files_are_read_or_refused(reader):
    others = corpora(READERS)
    verdicts = set()
    for seed in range(CASES):
        outcome = examine_case(reader, case_of(reader, seed, others))
        assert not outcome.failed, f'seed {seed}: {outcome}'
        verdicts.add(outcome.verdict)
    # Were all cases refused, nothing behind the first check would be tested.
    assert 'accepted' in verdicts


def test_a_seed_makes_the_same_file_again():
    others = corpora(READERS)
    for reader in READERS[:3]:
        assert case_of(reader, 5, others) == case_of(reader, 5, others) != case_of(reader, 6, others)
