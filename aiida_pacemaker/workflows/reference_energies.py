"""The energies of isolated atoms, at the very level of theory that the frames are labelled with."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessSpec, ToContext
from aiida.orm import to_aiida_type
from ase.data import chemical_symbols

from aiida_pacemaker.calculations.functions.reference_atoms import (
    ERROR_LEVELS_DIFFER,
    energies_of_atoms,
    isolated_atoms,
)
from aiida_pacemaker.workflows.base.resuming import ResumingWorkChain
from aiida_pacemaker.workflows.plugins import LABELLER, process_from

#: Smallest box in angstrom in which atoms may count as isolated.
SMALLEST_BOX = 6.0


def _validate(inputs: Any, _: Any) -> str | None:
    if 'entry_point' not in inputs.get('label', {}):
        return 'give a labeller: `label.entry_point`, and its inputs in `label.inputs`'
    return LABELLER.check_choice(inputs['label']['entry_point'].value)


def _validate_elements(node: orm.List | None, _: Any) -> str | None:
    elements = [] if node is None else node.get_list()
    unknown = [element for element in elements if element not in chemical_symbols[1:]]
    if unknown:
        return f'{unknown} are no chemical symbols'
    return None if elements else 'at least one element is needed'


def _validate_box(node: orm.Float | None, _: Any) -> str | None:
    if node is None or node.value >= SMALLEST_BOX:
        return None
    return f'a box of {node.value} angstrom does not isolate an atom from its images, {SMALLEST_BOX} or more is needed'


class PaceReferenceEnergiesWorkChain(ResumingWorkChain):
    """Have isolated atoms labelled by the labeller of the frames, and return their energies.

    The labeller and its inputs are given as to the loop, so that both label at one level of theory. The energies fit
    the input `reference_energies` of trainings and loops, where they stay as they are.
    """

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        """Define inputs, outputs, exit codes and the order of the steps."""
        super().define(spec)
        spec.input(
            'elements',
            valid_type=orm.List,
            serializer=to_aiida_type,
            validator=_validate_elements,
            help='Chemical symbols of the atoms.',
        )
        spec.input(
            'box',
            valid_type=orm.Float,
            serializer=to_aiida_type,
            default=lambda: orm.Float(12.0),
            validator=_validate_box,
            help='Edge in angstrom of the periodic cube that each atom is in.',
        )
        LABELLER.define_ports(spec, help='Who labels the atoms: exactly what labels the frames.')
        spec.inputs.validator = _validate
        spec.outline(cls.run_label, cls.read_energies)
        spec.output('reference_energies', valid_type=orm.Dict, help='Energy of the isolated atom of each element, eV.')
        spec.output(
            'level_of_theory',
            valid_type=orm.Dict,
            required=False,
            help='The `LevelOfTheory` of the energies, if the labeller says it.',
        )
        spec.exit_code(
            210,
            'ERROR_INPUTS_REFUSED',
            message='The inputs of the labeller were refused, nothing was submitted: {reason}',
        )
        spec.exit_code(
            410,
            'ERROR_ATOMS_FAILED',
            message='Not all isolated atoms could be labelled: {reason}. Repair the labeller or its inputs. Note that '
            'an atom may need what a solid does without, such as smearing.',
        )
        spec.exit_code(
            411,
            'ERROR_LEVELS_DIFFER',
            message='The atoms were labelled at different levels of theory, so that their energies do not belong '
            'together: {reason}',
        )

    def run_label(self) -> ToContext | ExitCode:
        """Hand the atoms to the labeller."""
        atoms, _ = self.run_once(
            isolated_atoms,
            elements=self.inputs.elements,
            box=self.inputs.box,
            metadata={'call_link_label': 'isolated_atoms'},
        )
        label = self.inputs.label
        metadata = {**label.get('metadata', {}), 'call_link_label': 'label', 'label': 'isolated atoms'}
        inputs = {**label.get('inputs', {}), 'dataset': atoms, 'metadata': metadata}
        try:
            return ToContext(label=self.submit(process_from(label.entry_point.value), inputs))
        except ValueError as exception:
            return self.exit_codes.ERROR_INPUTS_REFUSED.format(reason=exception)

    def read_energies(self) -> ExitCode | None:
        """Return the energies, if all of them are there."""
        node = self.ctx.label
        failed = node.outputs.failures.get('failures', []) if 'failures' in node.outputs else []
        said = '; '.join(f'{entry["reason"]}: {entry["message"]}' for entry in failed)
        if 'trajectories' not in node.outputs:
            state = f'{node.process_label}<{node.pk}> [{node.exit_status}] {node.exit_message}'
            return self.exit_codes.ERROR_ATOMS_FAILED.format(reason=said or state)
        outputs, made = self.run_once(
            energies_of_atoms,
            elements=self.inputs.elements,
            **node.outputs.trajectories,
            metadata={'call_link_label': 'energies'},
        )
        if not made.is_finished_ok:
            codes = self.exit_codes
            code = codes.ERROR_LEVELS_DIFFER if made.exit_status == ERROR_LEVELS_DIFFER else codes.ERROR_ATOMS_FAILED
            return code.format(reason=f'{made.exit_message}{": " if said else ""}{said}')
        for name, output in outputs.items():
            self.out(name, output)
        if 'level_of_theory' not in outputs:
            self.report('the labeller does not say its level of theory, so nothing can be compared with it')
        return None
