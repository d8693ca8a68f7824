"""The level of theory of nodes: what they say themselves, or what the calculation that made them was given."""

from __future__ import annotations

from collections.abc import Mapping

from aiida import orm

from aiida_pacemaker.data.theory import ATTRIBUTE, said_theory
from aiida_pacemaker.frames.theory import LevelOfTheory
from aiida_pacemaker.sources.registry import foreign, job_behind


def theory_of(node: orm.Node) -> LevelOfTheory | None:
    """Return the level of theory of the labels of a trajectory or of a file, None if it is not known.

    It is the attribute `level_of_theory` if there is one; otherwise it is read from the job that made the node, by the
    class of its trajectories (see :mod:`aiida_pacemaker.sources`). The plugin of the job need not be installed.

    :raises ValueError: if the attribute is no level of theory.
    """
    said = said_theory(node) if isinstance(node, orm.Data) else None
    if said is not None or not isinstance(node, orm.TrajectoryData):
        return said
    job = job_behind(node)
    source = None if job is None else foreign(job.process_type)
    return None if source is None or job is None else source.level_of_theory(node, job)


def recognised_levels(sources: Mapping[str, orm.Data]) -> dict[str, LevelOfTheory | str]:
    """Return the levels of theory of those sources that have one but do not say it themselves.

    :returns: by the label of the source; the label of an earlier source stands for the same level once more.
    """
    levels: dict[str, LevelOfTheory | str] = {}
    first: dict[str, str] = {}
    for label, node in sources.items():
        if not isinstance(node, orm.TrajectoryData) or node.base.attributes.get(ATTRIBUTE, None) is not None:
            continue
        level = theory_of(node)
        if level is not None:
            key = level.model_dump_json()
            levels[label] = first.get(key, level)
            first.setdefault(key, label)
    return levels
