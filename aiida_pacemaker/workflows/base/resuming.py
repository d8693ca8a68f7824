"""Recovery after a crash: what a work chain has already submitted is not submitted again."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_pacemaker._aiida.processes import InterruptibleWorkChain, call_later, has_broker, send_again
from aiida_pacemaker.provenance.graph import CALLS
from aiida_pacemaker.workflows.runners import record_runner

#: How long a process that was called before an interruption may take to begin. What the broker has for it is delivered
#: within a second; its message is lost if the broker or the caller died while it was sent.
GRACE_SECONDS = 10


class ResumingWorkChain(InterruptibleWorkChain):
    """Base of work chains whose calls are labelled: each is made once, whatever happens to the daemon.

    A worker that dies in a step leaves the work chain where it was before that step, and the next worker takes the step
    again. Processes that the step had already called are found by the labels of their links and are not called twice.
    If such a process has not started after some time, the message that starts it was lost and is sent again.
    """

    def was_made(self) -> None:
        """Record the runner of this process; a submitted process is loaded by its runner later."""
        if self.node.is_stored:
            record_runner(self.node)

    def was_loaded(self) -> None:
        """Record the present runner, and make sure that the processes that are waited for get started."""
        record_runner(self.node)
        for pk in self.awaited():
            self._see_to(pk)

    def submit(self, process: Any, inputs: dict[str, Any] | None = None, **kwargs: Any) -> orm.ProcessNode:
        """Submit a process, or return the one that this step has submitted before the work chain was interrupted."""
        metadata = {**(inputs or {}), **kwargs}.get('metadata', {})
        # One that has neither ended nor a checkpoint can never run: the worker died while it was made.
        found = [node for node in self._untaken(metadata) if node.is_terminated or node.checkpoint is not None]
        if not found:
            return self._take(super().submit(process, inputs, **kwargs))
        self.report(f'{found[0].process_label}<{found[0].pk}> was submitted before an interruption: taken up again')
        self._see_to(found[0].pk)
        return self._take(found[0])

    def run_once(self, function: Any, **inputs: Any) -> tuple[Any, orm.ProcessNode]:
        """Run a calculation function, or return what it gave in this step before the work chain was interrupted.

        :returns: its output or, where it has several, a mapping of them, and its node.
        """
        found = [node for node in self._untaken(inputs.get('metadata', {})) if node.is_finished_ok]
        if not found:
            outputs, node = function.run_get_node(**inputs)
            return outputs, self._take(node)
        created = found[0].base.links.get_outgoing(link_type=LinkType.CREATE).all()
        outputs = {link.link_label: link.node for link in created}
        return outputs.get('result', outputs), self._take(found[0])

    def _see_to(self, pk: int) -> None:
        """Start a process whose start message was lost."""

        def begin() -> None:
            node: Any = orm.load_node(pk)
            if node.process_state is ProcessState.CREATED and node.checkpoint is not None:
                self.report(
                    f'{node.process_label}<{pk}> was submitted before an interruption but never began: sent again'
                )
                send_again(self, pk)

        if has_broker(self):
            call_later(self, GRACE_SECONDS, begin)

    def _take(self, node: orm.ProcessNode) -> orm.ProcessNode:
        # The context is saved at the end of a step, so it lacks exactly what an interrupted step has called.
        self.ctx.setdefault('taken', []).append(node.pk)
        return node

    def _untaken(self, metadata: dict[str, Any]) -> list[Any]:
        """Return the called processes with this link label that no finished step has taken."""
        label = metadata.get('call_link_label')
        if label is None:
            return []
        called = self.node.base.links.get_outgoing(link_type=CALLS, link_label_filter=label).all_nodes()
        return [node for node in called if node.pk not in self.ctx.get('taken', [])]
