"""Walking the graph of data: what a node was made from, and what was made from it.

The queries of AiiDA for this (`with_ancestors`, `with_descendants`) follow each path from one node to another. In a
loop that explores with its own potentials the paths branch and join again in each generation, so that after three
generations there are more of them than can be counted. Here each node is come across once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

#: Nodes that one query asks for: SQLite takes no more than a thousand values in its oldest versions.
CHUNK = 500
#: Links of data to what was calculated from them, and on to the results.
_LINKS = [LinkType.INPUT_CALC.value, LinkType.CREATE.value]
#: Links from a work chain to what it has called.
CALLS = (LinkType.CALL_CALC, LinkType.CALL_WORK)
_CALL_VALUES = [call.value for call in CALLS]


def ancestors(node: orm.Node, *types: type[orm.Node]) -> list[Any]:
    """Return the nodes of some types that a node was made from, over any number of calculations, oldest first."""
    return _of_types(_reached(node, 'with_outgoing'), types)


def descendants(node: orm.Node, *types: type[orm.Node]) -> list[Any]:
    """Return the nodes of some types that were made from a node, over any number of calculations, oldest first."""
    return _of_types(_reached(node, 'with_incoming'), types)


def called_by(process: orm.ProcessNode) -> set[int]:
    """Return the pks of a process and of all that it has called, and they have called: one query for each level."""
    assert process.pk is not None  # noqa: S101 (for the type checker: it is stored)
    called, frontier = {process.pk}, {process.pk}
    while frontier:
        found: set[int] = set()
        for pks in chunks(frontier):
            query = orm.QueryBuilder().append(orm.WorkflowNode, filters={'id': {'in': pks}}, tag='caller')
            query.append(
                orm.ProcessNode,
                with_incoming='caller',
                edge_filters={'type': {'in': _CALL_VALUES}},
                project='id',
            )
            found.update(query.all(flat=True))
        frontier = found - called
        called |= found
    return called


def _reached(node: orm.Node, relation: str) -> set[int]:
    """Return the pks of all nodes that links lead to, all in one direction."""
    reached: set[int] = set()
    frontier: set[int] = set() if node.pk is None else {node.pk}
    while frontier:
        found: set[int] = set()
        for chunk in chunks(frontier):
            query = orm.QueryBuilder()
            query.append(orm.Node, filters={'id': {'in': chunk}}, tag='here')
            edges = {'type': {'in': _LINKS}}
            query.append(orm.Node, **{relation: 'here'}, edge_filters=edges, project='id')  # type: ignore[arg-type]
            found.update(query.all(flat=True))
        frontier = found - reached
        reached |= found
    return reached


def _of_types(pks: set[int], types: tuple[type[orm.Node], ...]) -> list[Any]:
    nodes = []
    for chunk in chunks(pks):
        query = orm.QueryBuilder().append(types, filters={'id': {'in': chunk}}, project='*')
        nodes += query.all(flat=True)
    return sorted(nodes, key=lambda found: (found.ctime, found.pk))


def chunks(pks: set[int]) -> Iterator[list[int]]:
    """Iterate over nodes in portions that one query can ask for."""
    ordered = sorted(pks)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]
