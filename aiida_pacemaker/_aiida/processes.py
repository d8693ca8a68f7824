"""Processes and what runs them, beyond the public API of AiiDA and plumpy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from aiida import orm
from aiida.common.escaping import escape_for_bash
from aiida.engine import (
    BaseRestartWorkChain,
    CalcJob,
    ExitCode,
    Process,
    ProcessBuilder,
    ProcessBuilderNamespace,
    ProcessSpec,
    WorkChain,
)
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from plumpy import run_until_complete

Result = TypeVar('Result')


class _LightProcess(Process):
    """Process that asks the database for its outputs where it has some."""

    def update_outputs(self) -> None:
        """Attach the outputs that are new, a step that AiiDA takes at each change of the state of a process.

        Before the first output, all that it does is to ask for those that are there.
        """
        if self.outputs:
            super().update_outputs()


class InterruptibleWorkChain(_LightProcess, WorkChain):
    """Work chain that is told when it is made, and when it goes on from a checkpoint.

    Both are methods of plumpy that every process has; AiiDA documents neither.
    """

    def was_made(self) -> None:
        """Act on a new process; one that is submitted is loaded by what will run it."""

    def was_loaded(self) -> None:
        """Act on a process that goes on from a checkpoint."""

    def on_create(self) -> None:
        """Make the node."""
        super().on_create()
        self.was_made()

    def load_instance_state(self, saved_state: Any, load_context: Any) -> None:
        """Go on from a checkpoint."""
        super().load_instance_state(saved_state, load_context)
        self.was_loaded()

    def awaited(self) -> list[int]:
        """Return the PKs of the processes that the work chain waits for; there is no public list of them."""
        return [awaitable.pk for awaitable in self._awaitables]


class RestartWorkChain(_LightProcess, BaseRestartWorkChain):
    """Restart chain of AiiDA whose outputs can be attached at any end, and again after an interruption."""

    def attach_outputs(self, node: orm.CalcJobNode) -> Any:
        """Attach the outputs of a job; AiiDA itself does so only after success."""
        return self._attach_outputs(node)

    def _attach_outputs(self, node: orm.CalcJobNode) -> Any:
        """Attach the outputs of a job, also those whose links an interrupted worker has made already.

        Else they would be missing from what the process knows of its outputs, and it would fail for their lack.
        """
        outputs = self.get_outputs(node)
        for name in self.spec().outputs:
            if name in outputs:
                self.out(name, outputs[name])
        return outputs


class FolderKeepingCalcJob(_LightProcess, CalcJob):
    """Job whose folder is an output whatever happened to the worker on the way."""

    def parse(self, *arguments: Any, **options: Any) -> ExitCode:
        """Parse the retrieved files, a step that the engine takes when they are there.

        A worker that dies right after the upload leaves the folder out of what the process knows of its outputs, and
        the job would fail for its lack.
        """
        if 'remote_folder' not in self.outputs:
            linked = self.node.base.links.get_outgoing(link_label_filter='remote_folder').first()
            path = self.node.get_remote_workdir()
            folder = orm.RemoteData(computer=self.node.computer, remote_path=path) if linked is None else linked.node
            self.out('remote_folder', folder)
        return super().parse(*arguments, **options)


class SpecBuilder(ProcessBuilder):
    """A builder with other ports than those of the process class; the public one takes those of the class only."""

    def __init__(self, process_class: Any, spec: ProcessSpec) -> None:
        """Make an empty builder.

        :param process_class: what is going to be launched.
        :param spec: its inputs.
        """
        self._process_class, self._process_spec = process_class, spec
        ProcessBuilderNamespace.__init__(self, spec.inputs)


def give_spec(process: Process, spec: Callable[[], ProcessSpec]) -> None:
    """Give a single process another spec than that of its class.

    AiiDA and plumpy ask the object for its spec wherever they do not ask the class, but call it a class method, and do
    not promise that an attribute of the object can stand in its place.

    :param process: one that has not begun, or that was just loaded from a checkpoint.
    :param spec: what returns the inputs, outputs and outline.
    """
    process.__dict__['spec'] = spec


def job_class_of(chain: Any) -> Any:
    """Return the class of the jobs of a restart chain, or the class itself if it is no such chain.

    `_process_class` is documented as what a chain sets; only its instances have a public property that tells it.
    """
    return getattr(chain, '_process_class', chain)


def inputs_of(builder: Any) -> dict[str, Any]:
    """Return the inputs that were set in a builder, without empty namespaces; `submit` does the same."""
    return dict(builder._inputs(prune=True))


def make_process(process_class: Any, inputs: Mapping[str, Any]) -> Any:
    """Return a process that checks its inputs and does not run yet; the public functions run or submit it at once."""
    return instantiate_process(get_manager().get_runner(), process_class, **inputs)


def run_in_loop(process: Process, awaitable: Awaitable[Result]) -> Result:
    """Return the result of something asynchronous, waited for in the middle of a step of a process.

    The event loop of the process runs already, and Python refuses to run it again; plumpy has a way around it that does
    not block what else is in the loop.
    """
    result: Result = run_until_complete(process.loop, awaitable)
    return result


@asynccontextmanager
async def transport_of(process: Any, authinfo: orm.AuthInfo) -> AsyncIterator[Any]:
    """Give an open transport to a computer: the one that the jobs of this worker share.

    `authinfo.get_transport()`, which is public, opens another connection, and does not heed the shortest time between
    two connections that the computer is configured with.
    """
    async with process.runner.transport.request_transport(authinfo) as request:
        yield await request


def call_later(process: Process, seconds: float, function: Callable[[], None]) -> None:
    """Call a function after some time, if what runs a process still does so then."""
    process.loop.call_later(seconds, function)


def has_broker(process: Any) -> bool:
    """Tell whether what runs a process has a message broker by which it can send others to workers."""
    return process.runner.controller is not None


def send_again(process: Any, pk: int) -> None:
    """Send a process to the workers once more.

    It is what `verdi process repair` does for all processes at a time, with the daemon stopped.

    :param process: one that runs.
    :param pk: of the process to send.
    """
    process.runner.controller.continue_process(pk, nowait=False, no_reply=True)


@contextmanager
def without_broker() -> Iterator[None]:
    """Have what AiiDA runs in this process run without a message broker.

    Nothing here is handed to a daemon. With a broker that is not up, the first command over an asynchronous transport
    would wait for it, fail, and be tried again for minutes. A profile has a broker or not; what can be changed for a
    single process is its runner, by methods of the manager that the documentation does not name.
    """
    manager = get_manager()
    # First, since a runner that makes way closes the event loop that the next one would share with it.
    manager.reset_runner()
    manager.set_runner(manager.create_runner(communicator=None))
    try:
        yield
    finally:
        manager.reset_runner()


def quoted(word: str) -> str:
    """Return a word quoted for bash as AiiDA quotes those in the scripts of its jobs."""
    return str(escape_for_bash(word))
