"""What aiida-quantumespresso is asked for: the inputs of its work chain for one frame, and checks of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import MissingEntryPointError, MultipleObjectsError, NotExistent
from aiida.plugins import WorkflowFactory

from aiida_pacemaker._aiida.processes import inputs_of
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.pace.config.expansion import deep_merge
from aiida_pacemaker.quantumespresso.functions import structure_of

BASE, PLUGIN = 'quantumespresso.pw.base', 'quantumespresso.pw'
#: What labels need, whatever the overrides say.
REQUIRED = {'calculation': 'scf', 'tprnfor': True, 'tstress': True}
SPIN_TYPES = ('none', 'collinear', 'non_collinear', 'spin_orbit')
ELECTRONIC_TYPES = ('metal', 'insulator')

_INSTALL = 'labelling with Quantum ESPRESSO needs aiida-quantumespresso: `pip install "aiida-quantumespresso>=5.1"`'
_FAMILY = (
    'make one with `aiida-pseudo install sssp`, or from UPF files with `aiida-pseudo install family` and '
    '`aiida-pseudo family cutoffs set`, see docs/howto/label_with_quantum_espresso.md'
)


def base_work_chain() -> Any:
    """Return the work chain that labels one frame.

    :raises ValueError: if aiida-quantumespresso is not installed.
    """
    try:
        return WorkflowFactory(BASE)
    except MissingEntryPointError as exception:
        raise ValueError(_INSTALL) from exception


def inputs_for(structure: orm.StructureData, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of the work chain for one structure.

    :param inputs: those of the labeller.
    :raises ValueError: if the protocol refuses them.
    """
    # The package is optional.
    from aiida_quantumespresso.common.types import ElectronicType, SpinType  # noqa: PLC0415

    overrides = deep_merge(
        inputs['overrides'].get_dict(),
        {'pseudo_family': inputs['pseudo_family'].value, 'pw': {'parameters': {'CONTROL': REQUIRED}}},
    )
    if 'kpoints_distance' in inputs:
        overrides['kpoints_distance'] = inputs['kpoints_distance'].value
    builder = base_work_chain().get_builder_from_protocol(
        inputs['code'],
        structure,
        protocol=inputs['protocol'].value if 'protocol' in inputs else None,
        overrides=overrides,
        electronic_type=ElectronicType(inputs['electronic_type'].value),
        spin_type=SpinType(inputs['spin_type'].value),
        options=inputs['options'].get_dict(),
    )
    return inputs_of(builder)


def validate_inputs(inputs: Any, _: Any) -> str | None:
    """Return what is wrong with the inputs of the labeller, None if its calculations can be submitted."""
    needed = ('dataset', 'code', 'pseudo_family', 'overrides', 'options', 'spin_type', 'electronic_type')
    if any(name not in inputs for name in needed):
        return None  # The port itself refuses this.
    try:
        base_work_chain()
    except ValueError as exception:
        return str(exception)
    plugin = inputs['code'].default_calc_job_plugin
    if plugin != PLUGIN:
        return f'the code {inputs["code"].full_label} is one of `{plugin}`, one of `{PLUGIN}` (pw.x) is needed'
    return _about_keywords(inputs) or _about_family(inputs) or _about_protocol(inputs)


def _about_keywords(inputs: Any) -> str | None:
    for name, allowed in (('spin_type', SPIN_TYPES), ('electronic_type', ELECTRONIC_TYPES)):
        if inputs[name].value not in allowed:
            return f'`{name}` is {inputs[name].value!r}, one of {", ".join(allowed)} is needed'
    overrides = inputs['overrides'].get_dict()
    if 'kpoints' in overrides:
        return 'the overrides have `kpoints`: cells of all sizes need k-points by distance, give `kpoints_distance`'
    for name in ('pseudo_family', 'kpoints_distance'):
        if name in overrides:
            return f'the overrides have `{name}`, which is an input of its own'
    control = (overrides.get('pw', {}).get('parameters') or {}).get('CONTROL', {})
    for keyword, value in REQUIRED.items():
        if control.get(keyword, value) != value:
            return f'the overrides set `{keyword}` to {control[keyword]!r}, labels need {value!r}'
    return None


def _about_family(inputs: Any) -> str | None:
    label = inputs['pseudo_family'].value
    query = orm.QueryBuilder()
    query.append(orm.Group, filters={'label': label, 'type_string': {'like': 'pseudo.family%'}})
    try:
        (family,) = query.one()
    except NotExistent:
        return f'there is no family of pseudopotentials with the label `{label}`: {_FAMILY}'
    except MultipleObjectsError:
        return f'there are several families of pseudopotentials with the label `{label}`: give them distinct labels'
    elements = inputs['dataset'].elements
    missing = sorted(set(elements) - set(family.elements))
    if missing:
        return f'the family `{label}` has no pseudopotential of {", ".join(missing)}: {_FAMILY}'
    system = (inputs['overrides'].get_dict().get('pw', {}).get('parameters') or {}).get('SYSTEM', {})
    if {'ecutwfc', 'ecutrho'} <= set(system):
        return None
    try:
        family.get_recommended_cutoffs(elements=tuple(elements), unit='Ry')
    except (AttributeError, ValueError) as exception:
        return (
            f'the family `{label}` recommends no cutoffs ({exception}): set them with `aiida-pseudo family cutoffs '
            'set`, or give `ecutwfc` and `ecutrho` (Ry) in the overrides, in `pw.parameters.SYSTEM`'
        )
    return None


def _about_protocol(inputs: Any) -> str | None:
    """Try the protocol on the first frame that can be calculated; all others get the same."""
    dataset: PaceDatasetData = inputs['dataset']
    for frames in dataset.iterate():
        periodic = frames.pbc.all(axis=1)
        if periodic.any():
            with warnings.catch_warnings():
                # Of keys that mean nothing it only warns, and the labels would not be what was asked for.
                warnings.filterwarnings('error', message='Found unrecognised key')
                try:
                    inputs_for(structure_of(frames.select([int(periodic.argmax())])), inputs)
                except (ValueError, TypeError, NotImplementedError, UserWarning) as exception:
                    return f'the protocol refuses the inputs: {exception}'
            return None
    return None
