"""The labeller that calculates each frame with pw.x of Quantum ESPRESSO, through aiida-quantumespresso."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ProcessSpec, ToContext, while_
from aiida.orm import to_aiida_type

from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.provenance.costs import cores_of, seconds_told_by
from aiida_pacemaker.quantumespresso.functions import (
    NOT_PERIODIC,
    WRONG_RESULT,
    collect_labels,
    list_failures,
    structure_of_frame,
)
from aiida_pacemaker.quantumespresso.inputs import base_work_chain, inputs_for, validate_inputs
from aiida_pacemaker.workflows.base.resuming import ResumingWorkChain


def _positive(node: orm.Int | orm.Float | None, _: Any) -> str | None:
    return None if node is None or node.value > 0 else f'it is {node.value}, a positive number is needed'


class QuantumEspressoLabelWorkChain(ResumingWorkChain):
    """Label frames with pw.x, one `PwBaseWorkChain` of aiida-quantumespresso for each frame.

    All frames get the same settings, from a protocol of that package, with k-points by distance so that cells of all
    sizes are equally converged. A frame that fails keeps none of the others from being labelled.
    """

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outputs, exit codes and the order of the steps."""
        super().define(spec)
        cls.define_inputs(spec)
        spec.outline(
            cls.setup,
            while_(cls.has_frames_left)(cls.run_batch, cls.collect_batch),
            cls.conclude,
        )
        spec.output_namespace(
            'trajectories',
            valid_type=orm.TrajectoryData,
            dynamic=True,
            help='The labelled frames, one trajectory for each batch and composition, with the arrays `energy` (eV), '
            '`forces` (eV/angstrom) and `stress` (eV/angstrom^3, sign of ASE), and their level of theory.',
        )
        spec.output(
            'failures',
            valid_type=orm.Dict,
            required=False,
            help='The frames without labels, with their reasons, and what the labels have cost: `seconds` of the '
            'calculations, and `core_seconds`.',
        )
        spec.exit_code(
            510,
            'ERROR_ALL_LABELS_FAILED',
            message='None of {count} frames could be labelled. Repair the inputs, or look at the calculations that '
            'were called; of the first frame it was said "{reason}".',
        )

    @classmethod
    def define_inputs(cls, spec: ProcessSpec) -> None:
        """Define what is said of the calculations."""
        plain: dict[str, Any] = {'serializer': to_aiida_type}
        spec.input('dataset', valid_type=PaceDatasetData, help='The frames to label; labels they have are not used.')
        spec.input('code', valid_type=orm.AbstractCode, help='pw.x, a code of `quantumespresso.pw`.')
        spec.input(
            'pseudo_family', valid_type=orm.Str, help='Label of a family of pseudopotentials of aiida-pseudo.', **plain
        )
        spec.input(
            'protocol',
            valid_type=orm.Str,
            required=False,
            help='Protocol of `PwBaseWorkChain`, such as `balanced`, `stringent` and `fast`; by default its default.',
            **plain,
        )
        spec.input(
            'kpoints_distance',
            valid_type=orm.Float,
            required=False,
            validator=_positive,
            help='Largest distance between k-points in 1/angstrom; by default that of the protocol.',
            **plain,
        )
        spec.input(
            'overrides',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            help='What is other than in the protocol, as `PwBaseWorkChain.get_builder_from_protocol` takes it.',
            **plain,
        )
        spec.input(
            'options',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            help='Options of the jobs, such as `resources` and `max_wallclock_seconds`.',
            **plain,
        )
        spec.input(
            'max_concurrent',
            valid_type=orm.Int,
            default=lambda: orm.Int(10),
            validator=_positive,
            help='How many frames are calculated at the same time.',
            **plain,
        )
        spec.input(
            'spin_type',
            valid_type=orm.Str,
            default=lambda: orm.Str('none'),
            help='`none`, `collinear`, `non_collinear` or `spin_orbit`.',
            **plain,
        )
        spec.input(
            'electronic_type',
            valid_type=orm.Str,
            default=lambda: orm.Str('metal'),
            help='`metal` (with smearing, safe for all) or `insulator` (fixed occupations).',
            **plain,
        )
        spec.inputs.validator = validate_inputs

    def setup(self) -> None:
        """Find out which frames can be calculated."""
        periodic = np.concatenate([frames.pbc.all(axis=1) for frames in self.inputs.dataset.iterate()])
        #: The kind of the reason and its message, by the position of the frame.
        self.ctx.failures = {
            str(index): [
                NOT_PERIODIC,
                'the frame is not periodic along all three axes, which pw.x needs: put it into a cell with enough '
                'vacuum and make that periodic',
            ]
            for index in range(len(periodic))
            if not periodic[index]
        }
        self.ctx.left = [index for index in range(len(periodic)) if periodic[index]]
        self.ctx.batch = []
        self.ctx.n_batches = 0
        self.ctx.n_labelled = 0
        self.ctx.seconds = self.ctx.core_seconds = 0.0

    def has_frames_left(self) -> bool:
        """Return whether there are frames that have not been calculated."""
        return bool(self.ctx.left)

    def run_batch(self) -> ToContext:
        """Submit the calculations of as many frames as may run at the same time."""
        count = self.inputs.max_concurrent.value
        batch, self.ctx.left = self.ctx.left[:count], self.ctx.left[count:]
        self.ctx.batch = []
        awaited = {}
        for index in batch:
            name = f'frame_{index:04d}'
            structure, _ = self.run_once(
                structure_of_frame,
                dataset=self.inputs.dataset,
                index=orm.Int(index),
                metadata={'call_link_label': f'structure_{index:04d}'},
            )
            try:
                inputs = inputs_for(structure, self.inputs)
            except (ValueError, TypeError, NotImplementedError) as exception:
                self.ctx.failures[str(index)] = ['refused_by_protocol', str(exception)]
                continue
            metadata = {'call_link_label': name, 'label': name}
            awaited[name] = self.submit(base_work_chain(), {**inputs, 'metadata': metadata})
            self.ctx.batch.append(index)
        self.report(f'{len(awaited)} frames submitted, {len(self.ctx.left)} left')
        return ToContext(**awaited)

    def collect_batch(self) -> None:
        """Attach the labels of the calculations that have come to their end, and keep the reasons of the others."""
        done = {}
        for index in self.ctx.batch:
            name = f'frame_{index:04d}'
            node = self.ctx.pop(name)
            self.count_costs(node)
            if node.is_finished_ok and 'output_trajectory' in node.outputs:
                done[name] = node.outputs.output_trajectory
            else:
                self.ctx.failures[str(index)] = list(_reason(node))
        label = f'batch_{self.ctx.n_batches:04d}'
        self.ctx.n_batches += 1
        if not done:
            return
        outputs, _ = self.run_once(
            collect_labels, dataset=self.inputs.dataset, **done, metadata={'call_link_label': label}
        )
        refused = outputs['refused'].get_dict()
        self.ctx.failures.update({index: [WRONG_RESULT, message] for index, message in refused.items()})
        self.ctx.n_labelled += len(done) - len(refused)
        for name, node in outputs.items():
            if name != 'refused':
                self.out(f'trajectories.{label}_{name}', node)

    def count_costs(self, node: orm.ProcessNode) -> None:
        """Add up what all jobs of a frame say that they took, also those of a frame that failed."""
        for job in node.called_descendants:
            if isinstance(job, orm.CalcJobNode):
                seconds = seconds_told_by(job) or 0.0
                self.ctx.seconds += seconds
                self.ctx.core_seconds += seconds * cores_of(job)

    def conclude(self) -> ExitCode | None:
        """List the failures."""
        reasons = {
            'failures': dict(self.ctx.failures),
            'seconds': self.ctx.seconds,
            'core_seconds': self.ctx.core_seconds,
        }
        failures, _ = self.run_once(
            list_failures,
            dataset=self.inputs.dataset,
            reasons=orm.Dict(reasons),
            metadata={'call_link_label': 'failures'},
        )
        self.out('failures', failures)
        listed = failures['failures']
        self.report(f'{self.ctx.n_labelled} frames labelled, {len(listed)} failed')
        if self.ctx.n_labelled:
            return None
        reason = f'{listed[0]["reason"]}: {listed[0]["message"]}'
        return self.exit_codes.ERROR_ALL_LABELS_FAILED.format(count=self.inputs.dataset.n_frames, reason=reason)


def _reason(node: orm.ProcessNode) -> tuple[str, str]:
    """Return why a frame has no labels: what its work chain says, and what its last job says."""
    jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
    jobs.sort(key=lambda job: job.ctime)
    last = [_status(job) for job in jobs[-1:]]
    kind, message = _status(node)
    said = [f'{message} ({node.process_label}<{node.pk}>)']
    said += [f'its last job says {of_job}: {text}' for of_job, text in last if of_job != 'finished']
    return kind, '; '.join(said)


def _status(node: Any) -> tuple[str, str]:
    """Return the label of the exit code of a process, or its state, and its message."""
    if not node.is_finished:
        return ('killed' if node.is_killed else 'excepted'), str(node.exception or node.process_status or '')
    if node.is_finished_ok:
        return 'finished', 'it has finished without a trajectory'
    labels = {code.status: label for label, code in node.process_class.exit_codes.items()}
    return str(labels.get(node.exit_status, f'exit status {node.exit_status}')), str(node.exit_message or '')
