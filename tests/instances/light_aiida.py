"""AiiDA without work that changes no result: half of the processor time of the tests is AiiDA's own.

Each replacement does what is replaced, with less. Daemons and services, which are processes of their own, run AiiDA as
it is.
"""

from __future__ import annotations

import gc
from typing import Any

import yaml
from aiida.engine import Process
from aiida.manage.manager import Manager
from aiida.orm.nodes.links import NodeLinks
from aiida.orm.utils import serialize
from aiida.orm.utils.links import validate_link

#: Seconds between two looks at a process that another waits for, and at the jobs of a scheduler. AiiDA looks without a
#: pause in a test profile, which takes the processor from what is waited for.
POLL_INTERVAL = 0.1
JOB_POLL_INTERVAL = 0.3


class _Dumper(serialize.AiiDADumper, yaml.CDumper):
    """Checkpoints written by libyaml rather than in Python: the same documents."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        yaml.CDumper.__init__(self, *args, **kwargs)


def lighten() -> None:
    """Make AiiDA lighter in this process."""
    # SQLAlchemy makes many objects that live long: each collection looks at all of them.
    gc.set_threshold(50_000, 10, 10)
    serialize.AiiDADumper = _Dumper  # type: ignore[misc]

    create_runner = Manager.create_runner
    Manager.create_runner = (  # type: ignore[method-assign]
        lambda self, *args, **kwargs: create_runner(self, *args, **{'poll_interval': POLL_INTERVAL, **kwargs})
    )

    # A node that is not stored has no links, and is part of no cycle: the database is not asked for one.
    validate_incoming = NodeLinks.validate_incoming

    def validate(self: Any, source: Any, link_type: Any, link_label: str) -> None:
        if self._node.is_stored and source.is_stored:
            validate_incoming(self, source, link_type, link_label)
        else:
            validate_link(source, self._node, link_type, link_label, backend=self._node.backend)

    NodeLinks.validate_incoming = validate  # type: ignore[method-assign]

    # As our own processes do (`_aiida.processes`), for calculation functions too: at each change of its state, one asks
    # the database for the links to its outputs, though it has none yet.
    update_outputs = Process.update_outputs
    Process.update_outputs = lambda self: update_outputs(self) if self.outputs else None  # type: ignore[method-assign]
