"""What wrong options of any kind are told, in the words of the configuration and none of pydantic's."""

from __future__ import annotations

import re

import pytest

from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.calculations.functions.datasets import FilterOptions, SplitOptions
from aiida_pacemaker.calculations.label_ase import AseCalculator
from aiida_pacemaker.errors import ConfigError
from aiida_pacemaker.exploration.options import ExploreOptions
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.options import ActiveSetOptions, SelectOptions
from aiida_pacemaker.sources.merge_options import MergeOptions
from aiida_pacemaker.workflows.loop.settings import LoopSettings


def complaints(model, given):
    with pytest.raises(ConfigError) as raised:
        parse_options(model, given)
    first, *lines = str(raised.value).splitlines()
    assert first == f'{model.__name__} cannot be used:'
    assert not re.search(r'pydantic|Extra inputs|Input should|Value error|validation error', str(raised.value))
    return [line.strip() for line in lines]


@pytest.mark.parametrize(
    ('model', 'given', 'line'),
    [
        (LoopSettings, {'gama_threshold': 2}, 'gama_threshold: unknown key; did you mean gamma_threshold?'),
        (LoopSettings, {'max_generations': 'a'}, "max_generations: found 'a', needed: an integer"),
        (LoopSettings, {'ensemble_seeds': [1, 1]}, 'ensemble_seeds: found [1, 1], needed: each once'),
        (SplitOptions, {'test_fraction': 20, 'seed': 1}, 'test_fraction: found 20, needed: less than 1'),
        (SplitOptions, {'test_fraction': 0.2, 'seed': 1, 'by': 'frames'}, "by: found 'frames', needed: 'frame' or 's"),
        (FilterOptions, {'max_forces': [0, 1]}, 'max_forces: unknown key; did you mean max_force?'),
        (MergeOptions, {'max_failed': 0.1}, 'max_failed: unknown key; did you mean max_failed_fraction?'),
        (MergeOptions, {'keys': {'energi': 'x'}}, 'keys.energi: unknown key; did you mean keys.energy?'),
        (SelectOptions, {'max_structure': 3}, 'max_structure: unknown key; did you mean max_structures?'),
        (ActiveSetOptions, {'kind': 'liner'}, "kind: found 'liner', needed: 'linear' or 'full'"),
        (ExploreOptions, {'temperatur': 300}, 'temperatur: unknown key; did you mean temperature?'),
        (AseCalculator, {}, 'calculator: missing; needed: Where the calculator is imported from: `module.path:Name`'),
        (DeltaBaseline, {'mode': 'detla'}, "mode: found 'detla', needed: 'delta', "),
    ],
)
def test_a_wrong_option_is_explained(model, given, line):
    assert complaints(model, given)[0].startswith(line)


def test_what_is_no_mapping():
    with pytest.raises(ConfigError, match=r'LoopSettings: found \[1\], needed: a mapping'):
        parse_options(LoopSettings, [1])


def test_good_options_come_back_as_their_model():
    assert parse_options(SplitOptions, {'test_fraction': 0.2, 'seed': 1}).seed == 1
