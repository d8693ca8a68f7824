"""The selection by the posterior of an exact linear fit: a driver that the Python of the engine runs."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_pacemaker import linear
from aiida_pacemaker.calculations.checks.inputs import options_of
from aiida_pacemaker.calculations.fit_linear import ONE_THREAD
from aiida_pacemaker.calculations.posteriors import archive_of, missing_arrays
from aiida_pacemaker.calculations.selection_job import SelectionJob
from aiida_pacemaker.calculations.staging import Staging
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.drivers.linear_files import POSTERIOR, PRECISIONS
from aiida_pacemaker.frames import handedness
from aiida_pacemaker.pace.config.options import SelectOptions

#: What is needed of a posterior.
ARRAYS = (*POSTERIOR, PRECISIONS)


def validate_worth(node: orm.ArrayData | None, _: Any) -> str | None:
    """Check that the posterior says what labels would be worth."""
    if node is None:
        return None
    if missing := missing_arrays(node, ARRAYS):
        return f'{missing} exact linear fit of the potential; fits of earlier versions have to be run again'
    return None


class PaceSelectPosteriorCalculation(SelectionJob):
    """Choose the candidates whose labels take most from the variance of all of them, by the posterior of a linear fit.

    The code is the Python interpreter that the engine is installed in. No active set is needed, so that there may be
    more functions than atoms. What is known is worth little, but as many as are asked for are selected of any
    candidates: leave out frames with a gamma below a threshold, or with small error bars, first.
    """

    DRIVER: ClassVar[str] = 'select_posterior.py'
    REQUEST: ClassVar[str] = 'select.json'
    SUMMARY: ClassVar[str] = 'selection.json'
    SELECTED: ClassVar[str] = 'selection.npz'
    POSTERIOR: ClassVar[str] = 'posterior.npz'

    PROGRAM = 'select_posterior.py'
    PARSER = 'pacemaker.select.posterior'
    METHOD = 'posterior'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'posterior',
            valid_type=orm.ArrayData,
            validator=validate_worth,
            help='The output `posterior` of the exact linear fit of the potential.',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the inputs of the driver."""
        info = self.calc_info(
            [self.code_info(self.inputs.code, [self.DRIVER])], retrieve=[self.STDOUT, self.STDERR, self.SUMMARY]
        )
        info.prepend_text = f'{info.prepend_text}\n{ONE_THREAD}'
        info.retrieve_temporary_list.append(self.SELECTED)
        tables: list[Any] = []
        with self.stage(folder, info) as staging:
            staging.potential(self.inputs.potential, self.POTENTIAL)
            staging.content(archive_of(self.inputs.posterior, ARRAYS), self.POSTERIOR)
            for _, dataset in sorted(self.inputs.candidates.items()):
                tables += self.tables_of(dataset, staging)
        request = {
            'potential': self.POTENTIAL,
            'posterior': self.POSTERIOR,
            'candidates': tables,
            'max_structures': options_of(SelectOptions, self.inputs).max_structures,
        }
        self.insert_drivers(folder, self.DRIVER, 'gather.py', 'summary.py', 'tables.py')
        self.insert_modules(folder, [handedness])
        self.insert_package(folder, linear)
        with folder.open(self.REQUEST, 'w') as handle:
            json.dump(request, handle, indent=1)
        return info

    def tables_of(self, dataset: PaceDatasetData, staging: Staging) -> list[Any]:
        """Provide candidates: rows of what the computer has of the pool if possible, else their tables.

        :returns: names of tables, or which rows of which tables there are.
        """
        rows = None
        if 'pool' in self.inputs:
            rows = staging.rows_of(dataset, self.inputs.pool, self.inputs.potential.baseline)
        return staging.structures(dataset) if rows is None else [rows._asdict()]
