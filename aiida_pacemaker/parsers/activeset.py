"""Parser of the active-set job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.calculations.activeset import PaceActiveSetCalculation
from aiida_pacemaker.calculations.validation import options_of
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.engine.logs import ActiveSetLog, read_active_set_log
from aiida_pacemaker.engine.options import ActiveSetOptions
from aiida_pacemaker.parsers.base import PaceParser, finite


class PaceActiveSetParser(PaceParser):
    """Attach the active set and what the program says of it."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        inputs = self.node.inputs
        kind = options_of(ActiveSetOptions, inputs).kind
        content = self.read_bytes(PaceActiveSetCalculation.ACTIVE_SET[kind])
        # The program logs to its standard error.
        log = self.summarise(read_active_set_log, self.job.STDERR, ActiveSetLog())
        if log.elements:
            self.out('output_parameters', orm.Dict(finite(asdict(log))))
        if content is None:
            return self.verdict(self.diagnose(), self.silent())
        try:
            active_set = PaceActiveSetData(content, kind=kind)
        except ValueError as exception:
            invalid = self.exit_codes.ERROR_ACTIVE_SET_INVALID.format(reason=str(exception))
            return self.verdict(self.diagnose(), self.unusable(invalid))
        self.out('active_set', active_set)
        missing = sorted(set(inputs.potential.elements) - set(active_set.elements))
        if missing:
            reason = f'it has no environments of {", ".join(missing)}'
            return self.verdict(self.exit_codes.ERROR_ACTIVE_SET_INVALID.format(reason=reason))
        return self.verdict()
