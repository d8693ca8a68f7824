"""Parser of the active-set job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiida import orm
from aiida.engine import ExitCode

from aiida_pacemaker.calculations.activeset import PaceActiveSetCalculation
from aiida_pacemaker.calculations.checks.inputs import options_of
from aiida_pacemaker.calculations.unseen import data_of, unseen_by, unseen_from
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.pace.config.options import ActiveSetOptions
from aiida_pacemaker.pace.output.logs import ActiveSetLog, read_active_set_log
from aiida_pacemaker.pace.unseen import UNKNOWN, Unseen
from aiida_pacemaker.parsers.base import PaceParser, finite


class PaceActiveSetParser(PaceParser):
    """Attach the active set and what the program says of it."""

    def parse(self, **kwargs: Any) -> ExitCode:
        """Parse the retrieved files."""
        inputs = self.inputs
        kind = options_of(ActiveSetOptions, inputs).kind
        content = self.read_bytes(PaceActiveSetCalculation.ACTIVE_SET[kind])
        # The program logs to its standard error.
        log = self.summarise(read_active_set_log, self.job.STDERR, ActiveSetLog())
        active_set, unseen, problem = None, None, None
        if content is not None:
            try:
                active_set = PaceActiveSetData(content, kind=kind)
                active_set.unseen = unseen = unseen_from(content, kind, data_of(self.node), inputs.potential)
            except ValueError as exception:
                problem = self.exit_codes.ERROR_ACTIVE_SET_INVALID.format(reason=str(exception))
        warnings = [] if active_set is None else self.warnings(unseen)
        for warning in warnings:
            self.logger.warning(warning)
        if log.elements:
            facts = {'unseen': None if unseen is None else unseen.names, 'warnings': warnings}
            self.out('output_parameters', orm.Dict({**finite(asdict(log)), **facts}))
        if content is None:
            return self.verdict(self.diagnose(), self.silent())
        if active_set is None:
            return self.verdict(self.diagnose(), None if problem is None else self.unusable(problem))
        self.out('active_set', active_set)
        missing = sorted(set(inputs.potential.elements) - set(active_set.elements))
        if missing:
            reason = f'it has no environments of {", ".join(missing)}'
            return self.verdict(self.exit_codes.ERROR_ACTIVE_SET_INVALID.format(reason=reason))
        return self.verdict()

    def warnings(self, unseen: Unseen | None) -> list[str]:
        """Return what there is to say of interactions that the active set knows nothing of; None if nobody knows."""
        if unseen is None:
            return [UNKNOWN]
        dataset = data_of(self.node)
        in_data = {} if dataset is None else unseen_by([dataset], self.inputs.potential).blocks
        left_out = Unseen(unseen.cutoffs, {block: n for block, n in unseen.blocks.items() if block not in in_data})
        if dataset is None or not left_out:
            return [unseen.warning] if unseen else []
        never_had = Unseen(unseen.cutoffs, in_data)
        return [
            *([never_had.warning] if never_had else []),
            f'Interactions that the data have and the active set has not: {left_out.text}. The few atoms that have '
            'them were left out for their large force errors, so gamma counts as infinite there. Label more frames '
            'like them, or build the active set with `all_atoms`.',
        ]
