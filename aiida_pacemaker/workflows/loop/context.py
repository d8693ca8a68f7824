"""The context of the loop: all that it keeps from one step to the next, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from aiida import orm

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.workflows.loop.settings import LoopSettings


class LoopContext(Protocol):
    """The keys of `ctx` of the loop, with their types.

    mypy holds all steps to them. Beside these there are the nodes of the trainings and evaluations of the members of an
    ensemble, under the names of their calls (`member_7_train`, see `LoopCall.name`), or None where their inputs were
    refused. What is set in `setup` is always there; the rest from the step on that is named. A checkpoint holds all of
    it, so values are nodes, pydantic models or plain Python.
    """

    # Where the loop is.

    #: Links of calls that belong to completed steps, by the PKs of what was called; of `ResumingWorkChain`.
    taken: list[int]
    #: Settings of the loop, parsed.
    settings: LoopSettings
    #: Stage that calls are labelled with: see `links.py`.
    stage: str
    #: Number of the generation; that of the next one from `merge_selected` on.
    generation: int

    # What the loop has got: these are outputs too.

    #: Report with one row per generation: see `generations.py`.
    report: orm.Dict
    #: Dataset that is trained on. None in `setup` only: `merge_initial` makes one where none was given.
    dataset: PaceDatasetData
    #: Frozen test set, if there is one.
    test_dataset: PaceDatasetData | None
    #: Last potential: the one that was given, or that of the last training. Its class is that of the engine.
    potential: orm.Data | None
    #: Active set of that potential, of the class that the engine has for it; from `inspect_activeset` on.
    active_set: orm.Data
    #: Baseline of all potentials; from `pin_references` on.
    baseline: orm.Dict
    #: Atomic reference energies (E0) in eV; from `pin_references` on they are not None.
    reference_energies: orm.Dict | None
    #: Config of all trainings with what the first dataset fixes in it, None where the one that was given has it all;
    #: from `pin_config` on.
    config: orm.Dict | None
    #: Errors of what was labelled, with the gamma that it was chosen by; None before the first selection.
    calibration: orm.Dict | None
    #: Frames that were selected in this run and have no labels.
    unlabelled: PaceDatasetData | None

    # What a generation passes from step to step.

    #: Folder of the last training on its computer, None where the training gave none; from `inspect_train` on.
    training_folder: orm.RemoteData | None
    #: What error bars follow from, None where the training gave none.
    posterior: orm.ArrayData | None
    #: Candidates that were given, or that were found by the explorer in this generation.
    pool: PaceDatasetData | None
    #: Report of the explorer in this generation, None without one.
    exploration: orm.Dict | None
    #: Energies, forces and gamma of the pool by the explorer; None where the loop has to evaluate it.
    grades: orm.ArrayData | None
    #: Frames of the pool on which the potential extrapolates; without those held out from `run_select` on.
    candidates: PaceDatasetData | None
    #: Frames that are to be trained on.
    selected: PaceDatasetData | None
    #: Frames that are kept for the test set.
    held_out: PaceDatasetData | None
    #: Labels of the selected frames, as sources of the merge.
    labelled: Mapping[str, orm.Data]
    #: Labels of the frames for the test set, as sources of the merge.
    labelled_test: Mapping[str, orm.Data]
    #: Output `failures` of the labeller for the selected frames.
    failures: orm.Dict | None
    #: Output `failures` of the labeller for the frames for the test set.
    failures_test: orm.Dict | None
    #: Report of the merge into the test set.
    merged_test: orm.Dict | None
    #: Last potentials of the members of the ensemble, by `member_name`.
    members: dict[str, orm.Data]
    #: Evaluations of the pool by the members of the ensemble, by `member_name`.
    member_evaluations: dict[str, orm.ArrayData]

    # Nodes of the processes that were submitted, each under the value of its `LoopStep`.

    #: `LoopStep.ATOMS`.
    atoms: orm.ProcessNode
    #: `LoopStep.TRAIN`.
    train: orm.ProcessNode
    #: `LoopStep.ACTIVESET`.
    activeset: orm.ProcessNode
    #: `LoopStep.EXPLORE`.
    explore: orm.ProcessNode
    #: `LoopStep.EVALUATE`.
    evaluate: orm.ProcessNode
    #: `LoopStep.SELECT`.
    select: orm.ProcessNode
    #: `LoopStep.LABEL`; None where nothing that was selected needs labels.
    label: orm.ProcessNode | None
    #: `LoopStep.LABEL_TEST`; None where nothing was held out.
    label_test: orm.ProcessNode | None

    # The names of the members are not known before.

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is under a key, or a default."""

    def __getitem__(self, key: str) -> Any:
        """Return what is under a key."""

    def __setitem__(self, key: str, value: Any) -> None:
        """Put something under a key."""
