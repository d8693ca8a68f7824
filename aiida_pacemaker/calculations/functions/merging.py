"""Merging trajectories, files and datasets into one dataset: the calculation function, and it with plain arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_pacemaker.calculations.functions.calling import ERROR_REFUSED, loaded_dataset, run_function
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.errors import RefusedError
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.sources.given import nodes_of
from aiida_pacemaker.sources.merge_options import MergeOptions
from aiida_pacemaker.sources.merging import file_names, merge_sources
from aiida_pacemaker.sources.origin import TrajectoryOrigin, recognised_conventions, recognised_levels
from aiida_pacemaker.sources.reading import Source


@calcfunction
def merge(options: orm.Dict, base: PaceDatasetData | None = None, **sources: Source) -> dict[str, orm.Data] | ExitCode:
    """Merge trajectories, files and datasets into one dataset: see `merge_frames`."""
    try:
        dataset, atoms, report = merge_sources(base, sources, parse_options(MergeOptions, options.get_dict()))
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, str(exception))
    outputs: dict[str, orm.Data] = {'dataset': dataset, 'report': orm.Dict(report)}
    return outputs if atoms is None else {**outputs, 'isolated_atoms': atoms}


def merge_frames(
    *sources: Any, base: PaceDatasetData | int | str | None = None, **options: Any
) -> tuple[PaceDatasetData, orm.Dict]:
    """Merge any number of trajectories, files and datasets into one dataset, with provenance.

    :param sources: `TrajectoryData`, `PaceDatasetData`, and `SinglefileData` with a Pacemaker `.pckl.gzip` or whatever
        ASE reads; paths of such files, which become `SinglefileData`; structures of ASE, which become trajectories, one
        for each composition and periodicity; PKs and uuids of nodes; lists of all these. In options and report they are
        `source_0000`, `source_0001`, ... in their order. What the arrays of a trajectory mean is known from the process
        that made it (:mod:`aiida_pacemaker.sources`), or stated with `conventions`.
    :param base: a dataset to begin with; it is not checked again.
    :param options: the fields of :class:`MergeOptions`.
    :returns: the dataset, and a report that lists duplicates and refused frames with their reasons.
    :raises RefusedError: if something given is no source, if it is not known what its arrays mean, or if more frames
        are refused than `max_failed_fraction` allows; nothing is merged then.
    """
    try:
        labelled = {f'source_{index:04d}': node for index, node in enumerate(_given(sources, options))}
    except ValueError as exception:
        raise RefusedError(str(exception)) from exception
    begin = {} if base is None else {'base': loaded_dataset(base, 'base')}
    outputs = run_function(merge, options=merge_options(labelled, **options), **begin, **labelled)
    return outputs['dataset'], outputs['report']


def _given(sources: Iterable[Any], options: Mapping[str, Any]) -> list[Source]:
    """Return the nodes of the sources of a merge with some options."""
    keys = options.get('keys')
    by_source = isinstance(keys, Mapping) and any(isinstance(value, (Mapping, LabelKeys)) for value in keys.values())
    return nodes_of(sources, keys=None if by_source else keys, labelled=options.get('labelled', True))


def merge_options(sources: Mapping[str, Source], **options: Any) -> orm.Dict:
    """Return the options of a merge, with the conventions and levels of theory of all trajectories written out.

    The merge is a function of its inputs then, which its hash follows from: who made a trajectory is in the graph, not
    in the content of the node. A trajectory whose convention is not known is left out; the merge refuses it.
    """
    origins = {label: TrajectoryOrigin(node) for label, node in sources.items() if isinstance(node, orm.TrajectoryData)}
    stated = options.get('conventions', {})
    recognised = recognised_conventions({label: one for label, one in origins.items() if label not in stated})
    parsed = parse_options(MergeOptions, {**options, 'conventions': {**recognised, **stated}})
    try:
        parsed.check_labels(file_names(sources))
    except ValueError as exception:
        raise RefusedError(str(exception)) from exception
    if parsed.labelled:
        levels = recognised_levels({label: one for label, one in origins.items() if label not in parsed.levels})
        parsed = parsed.model_copy(update={'levels': {**levels, **parsed.levels}})
    return orm.Dict(parsed.model_dump(mode='json'))
