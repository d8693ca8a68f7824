"""Baseline and atomic reference energies that a dataset suggests: what is fixed before a first fit."""

from __future__ import annotations

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ExitCode, calcfunction

from aiida_pacemaker.baseline.distances import join_distances
from aiida_pacemaker.baseline.evaluation import evaluate
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.baseline.reference_energies import element_counts, fit_energies
from aiida_pacemaker.baseline.zbl import distance_of_concern
from aiida_pacemaker.calculations.functions.calling import ERROR_REFUSED, loaded_dataset, run_function
from aiida_pacemaker.calculations.functions.reference_atoms import isolated_atom_energies
from aiida_pacemaker.data.dataset import PaceDatasetData
from aiida_pacemaker.data.surveys import lowest_energy_of, shortest_of
from aiida_pacemaker.frames.isolated import isolated_atoms


@calcfunction
def fit_reference_energies(dataset: PaceDatasetData, baseline: orm.Dict) -> orm.Dict | ExitCode:
    """Return the energy per atom of each element (eV) that describes a dataset best, its baseline subtracted.

    These are no energies of isolated atoms, but they bring the energies into the range that the engine accepts. Fit
    them once, at the first generation, and keep them for all later ones.
    """
    parsed = DeltaBaseline.model_validate(baseline.get_dict())
    parts = []
    for frames in dataset.iterate():
        if frames.energy is None:
            return ExitCode(ERROR_REFUSED, f'{dataset} has no labels, energies are needed')
        parts.append((*element_counts(frames), frames.energy - evaluate(parsed, frames).energy))
    return orm.Dict(fit_energies(parts))


@calcfunction
def pin_energy_reference(
    config: orm.Dict, dataset: PaceDatasetData, baseline: orm.Dict, reference_energies: orm.Dict
) -> orm.Dict:
    """Return the config of a linear fit with the lowest energy of a dataset, in eV/atom, that weights are relative to.

    Reference energies and baseline are subtracted. A frame with a lower energy that comes later would otherwise change
    the weights of all others: errors of generations would be of different fits, and no equations of an earlier one
    could be used again.
    """
    content = config.get_dict()
    parsed = DeltaBaseline.model_validate(baseline.get_dict())
    lowest = lowest_energy_of(dataset, parsed, reference_energies.get_dict())
    return orm.Dict({**content, 'linear': {**(content.get('linear') or {}), 'energy_reference': lowest}})


@calcfunction
def default_baseline(
    dataset: PaceDatasetData, lj: orm.Bool, mode: orm.Str | None = None, **others: PaceDatasetData
) -> orm.Dict | ExitCode:
    """Return the baseline that the elements of a dataset and its shortest distances suggest: ZBL, and LJ if wanted.

    The ZBL repulsion of each pair ends where the two atoms would bond, and before the first label of the pair. Other
    datasets are structures that may come to be fitted later or tested on: their distances count as well. The mode is
    that of a `DeltaBaseline`, by default `delta`; with `core` the fit sets the ZBL repulsion from its own data.
    """
    try:
        within = distance_of_concern(dataset.elements)
        shortest = join_distances(shortest_of(one, within) for one in (dataset, *others.values()))
        chosen = {} if mode is None else {'mode': mode.value}
        baseline = DeltaBaseline.for_elements(dataset.elements, lj=lj.value, shortest=shortest, **chosen)
    except ValueError as exception:
        return ExitCode(ERROR_REFUSED, f'there is no default baseline: {exception}')
    return orm.Dict(baseline.model_dump(mode='json'))


def reference_energies_from(dataset: PaceDatasetData | int | str) -> orm.Dict:
    """Return the energy of the isolated atom of each element of a dataset (eV), of frames of one atom alone.

    These are looked for in the dataset, and if there are none among those that were set aside when it was merged, also
    where it is a part of what was merged.

    :param dataset: the dataset, or its PK or uuid.
    :raises RefusedError: if an element has no isolated atom, or several with different energies.
    """
    dataset = loaded_dataset(dataset)
    elements = orm.List(dataset.elements)
    found = {f'atoms_{index:02d}': node for index, node in enumerate(_with_isolated_atoms(dataset))}
    energies: orm.Dict = run_function(isolated_atom_energies, elements=elements, **found)
    return energies


def _with_isolated_atoms(dataset: PaceDatasetData) -> list[PaceDatasetData]:
    """Return the dataset if it has isolated atoms, else what the merges behind it have set aside."""
    if any(isolated_atoms(frames).any() for frames in dataset.iterate()):
        return [dataset]
    found: dict[str, PaceDatasetData] = {}
    seen = {dataset.uuid}
    queue = [dataset]
    while queue:
        creator = queue.pop(0).creator
        if creator is None:
            continue
        if 'isolated_atoms' in creator.outputs and isinstance(creator.outputs.isolated_atoms, PaceDatasetData):
            found.setdefault(creator.outputs.isolated_atoms.uuid, creator.outputs.isolated_atoms)
        for node in creator.base.links.get_incoming(PaceDatasetData, link_type=LinkType.INPUT_CALC).all_nodes():
            if isinstance(node, PaceDatasetData) and node.uuid not in seen:
                seen.add(node.uuid)
                queue.append(node)
    return list(found.values())
