"""Names of labels in files: which label each stands for, which belong together, and when two labels are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Up to these differences two labels are the same, written with fewer digits: eV per atom, eV/angstrom, eV/angstrom^3.
SAME_ENERGY, SAME_FORCES, SAME_STRESS = 1e-5, 1e-4, 1e-5
#: What a name says of the label that it stands for.
_KINDS = {
    'energy': 'energy',
    'energies': 'energy',
    'force': 'forces',
    'forces': 'forces',
    'stress': 'stress',
    'virial': 'virial',
    'virials': 'virial',
}
#: Words that say nothing of where a label is from.
_FILLERS = frozenset({'total', 'tot', 'potential', 'free'})
#: Names of virials that all programs write with the same sign, that of -stress times volume.
VIRIALS = ('virial', 'virials')
#: Words of names that say how much a label counts.
_WEIGHTS = frozenset({'w', 'weight', 'weights'})
#: Words that name a reference calculation or a model, also where they stand with an energy alone.
# fmt: off
_SETS = frozenset((
    'ref', 'reference', 'dft', 'qm', 'ab', 'initio', 'true', 'target', 'label', 'labels', 'vasp', 'castep', 'qe',
    'espresso', 'aims', 'cp2k', 'gpaw', 'orca', 'abinit', 'lda', 'pbe', 'pbesol', 'scan', 'r2scan', 'hse', 'xtb',
    'gfn', 'calc', 'mace', 'gap', 'ace', 'pace', 'nequip', 'allegro', 'chgnet', 'm3gnet', 'nep', 'deepmd', 'ml',
    'mlip', 'mlff', 'model', 'nn', 'pred', 'predicted', 'prediction',
))
# fmt: on
_WORDS = re.compile(r'[A-Z]?[a-z0-9]+|[A-Z0-9]+')


def kind_of(name: str) -> tuple[str, str] | None:
    """Return the set of labels that a name belongs to and the label in it, None if it is the name of no label.

    The set of `REF_energy`, `ref_forces` and `energy_ref` is `ref`, that of `energy`, `Energy` and `force` is empty.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    kinds = {_KINDS[word] for word in words if word in _KINDS}
    if len(kinds) != 1 or not _WEIGHTS.isdisjoint(words):
        return None
    return '_'.join(word for word in words if word not in _KINDS and word not in _FILLERS), kinds.pop()


def label_names(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Return the names that stand for labels, by set of labels and by label.

    A name such as `kinetic_energy` counts only if there are forces of the same set, or if its set is known to be that
    of a calculation or a model.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        kind = kind_of(name)
        if kind is not None:
            found.setdefault(kind[0], {}).setdefault(kind[1], []).append(name)
    return {
        group: labels
        for group, labels in found.items()
        if not group or 'forces' in labels or _SETS.issuperset(group.split('_'))
    }
