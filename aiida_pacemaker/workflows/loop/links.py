"""Labels of the links from a loop to what it calls: the loop writes them, and its history reads them.

They are stored in databases. Changing a value here, or the form of a label, hides the calls of earlier runs from
`get_builder_from_run` and `loop_table`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

#: The stage before the first generation.
INITIAL = 'initial'
#: The stage in which frames that an earlier run could not label are labelled.
RETRY = 'retry'

_STAGE = rf'(?P<stage>{INITIAL}|{RETRY}|generation_(?P<generation>\d+))'
_LABEL = re.compile(rf'{_STAGE}_(?:member_(?P<member>\d+)_)?(?P<step>\w+)')


class LoopStep(str, Enum):
    """What a loop calls, by its name in the label of the link. No two calls of a stage have the same step.

    Steps that submit a process are also the names under which the context of the loop holds its node.
    """

    #: `begin_report`, and `report_fit` in each generation.
    REPORT = 'report'
    #: `merge` of the initial frames, and of those that were labelled.
    MERGE = 'merge'
    #: The energies of the isolated atoms: `PaceReferenceEnergiesWorkChain`.
    ATOMS = 'atoms'
    #: `baseline_of` a potential, or `default_baseline`.
    BASELINE = 'baseline'
    #: `reference_energies_of` a potential, or `fit_reference_energies`.
    REFERENCES = 'references'
    #: `pin_config` of the engine: the config of all trainings, with what the first dataset fixes.
    CONFIG = 'config'
    #: `exclude_datasets`: the frames of an earlier run that still have no labels.
    FRAMES = 'frames'
    #: `member_dataset`: the share of the dataset that a member of the ensemble is trained on.
    DATASET = 'dataset'
    #: The training of the potential, or of a member of the ensemble.
    TRAIN = 'train'
    #: The active set of the potential.
    ACTIVESET = 'activeset'
    #: `choose_initial_structures`: the structures that an exploration begins from.
    INITIAL_STRUCTURES = 'seeds'
    #: The explorer.
    EXPLORE = 'explore'
    #: The evaluation of the potential, or of a member of the ensemble.
    EVALUATE = 'evaluate'
    #: `find_candidates`.
    CANDIDATES = 'candidates'
    #: `hold_out`: candidates for the test set.
    HOLD_OUT = 'set_aside'
    #: The selection.
    SELECT = 'select'
    #: The labeller, for frames that are to be trained on.
    LABEL = 'label'
    #: The labeller, for frames of the test set.
    LABEL_TEST = 'label_test'
    #: `merge` into the test set.
    MERGE_TEST = 'merge_test'
    #: `report_selection`, or `report_retry`.
    REPORT_SELECTION = 'report_selection'
    #: `frames_without_labels`.
    UNLABELLED = 'unlabelled'
    #: `calibrate`.
    CALIBRATION = 'calibration'
    #: `report_calibration`.
    REPORT_CALIBRATION = 'report_calibration'
    #: `stop_reason_of`.
    STOP_REASON = 'stop_reason'


@dataclass(frozen=True)
class LoopCall:
    """One call of a loop.

    :param stage: `INITIAL`, `RETRY`, or what :func:`generation_stage` returns.
    :param step: what was called.
    :param member: the seed of the member of the ensemble that the call is for, None for the potential of the loop.
    """

    stage: str
    step: LoopStep
    member: int | None = None

    @property
    def name(self) -> str:
        """The step, with the member that it is for."""
        return self.step.value if self.member is None else f'{member_name(self.member)}_{self.step.value}'

    @property
    def link_label(self) -> str:
        """The label of the link from the loop."""
        return f'{self.stage}_{self.name}'

    @property
    def process_label(self) -> str:
        """The label of the process, in words."""
        return f'{stage_in_words(self.stage)}: {self.name}'

    @classmethod
    def parse(cls, link_label: str) -> LoopCall | None:
        """Return the call that a label of a link names, None if it names none that is known."""
        found = _LABEL.fullmatch(link_label)
        steps = {step.value: step for step in LoopStep}
        if found is None or found['step'] not in steps:
            return None
        member = None if found['member'] is None else int(found['member'])
        return cls(found['stage'], steps[found['step']], member)


def generation_stage(generation: int) -> str:
    """Return the stage of a generation."""
    return f'generation_{generation:02d}'


def generation_of(link_label: str) -> int | None:
    """Return the generation that the label of a link belongs to, whatever its step; None if it belongs to none."""
    found = re.match(rf'{_STAGE}_', link_label)
    return None if found is None or found['generation'] is None else int(found['generation'])


def stage_in_words(stage: str) -> str:
    """Return a stage in words, such as `generation 3`."""
    name, _, number = stage.partition('_')
    return f'{name} {int(number)}' if number else name


def member_name(seed: int) -> str:
    """Return the name of the member of the ensemble with a seed."""
    return f'member_{seed}'
