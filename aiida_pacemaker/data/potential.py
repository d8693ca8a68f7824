"""The potential node: a fitted ACE potential with all that belongs to it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.orm.pydantic import OrmMetadataField

from aiida_pacemaker.baseline.lammps import lammps_table, table_file_of, to_lammps
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.data.active_set import PaceActiveSetData
from aiida_pacemaker.data.calculator import build_calculator
from aiida_pacemaker.option_errors import parse_options
from aiida_pacemaker.pace.config.short_range import zbl_cores
from aiida_pacemaker.pace.imported_potentials import COMPANION, differing_energies, write_companion
from aiida_pacemaker.pace.output.potentials import read_ctilde, read_potential
from aiida_pacemaker.pace.unseen import UNKNOWN, Unseen, unseen_by_matrix

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

#: Names that lead to no other folder, and that LAMMPS reads as one word.
STEM = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')


class PacePotentialData(orm.Data):
    """An ACE potential together with the baseline and the reference energies that it was fitted against.

    The B-basis ``.yaml`` is the potential to continue from, to build an active set for and to use in LAMMPS with
    ``pace/extrapolation``; the C-tilde basis ``.yace``, where there is one, is for LAMMPS ``pair_style pace``. What the
    potential says is not the total energy: the baseline and the atomic reference energies have to be added, so
    they travel with it.
    """

    B_BASIS = 'potential.yaml'
    C_TILDE = 'potential.yace'

    class AttributesModel(orm.Data.AttributesModel):
        """What can be queried without opening the files."""

        elements: list[str] = OrmMetadataField(description='Chemical symbols that the potential describes, sorted')
        cutoff: float = OrmMetadataField(description='Largest cutoff of any bond in angstrom')
        n_functions: int = OrmMetadataField(description='Number of basis functions')
        n_functions_per_element: dict[str, int] = OrmMetadataField(
            description='Number of basis functions around each central element'
        )
        baseline: dict[str, Any] = OrmMetadataField(description='The baseline that was subtracted from the labels')
        reference_energies: dict[str, float] = OrmMetadataField(description='Atomic reference energies (E0) in eV')
        versions: dict[str, str] = OrmMetadataField(description='Versions of the programs that made the potential')

    def __init__(
        self,
        b_basis: bytes | None = None,
        *,
        c_tilde: bytes | None = None,
        baseline: DeltaBaseline | dict[str, Any] | None = None,
        reference_energies: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Construct a potential from the contents of its files.

        :param b_basis: content of the B-basis ``.yaml``.
        :param c_tilde: content of the C-tilde ``.yace``.
        :param baseline: what was subtracted from the labels before the fit.
        :param reference_energies: atomic reference energy (E0) of each element in eV.
        :raises ValueError: if a file is not what it should be, or if an element has no reference energy.
        """
        super().__init__(**kwargs)
        if b_basis is None or baseline is None or reference_energies is None:
            raise ValueError(
                'a potential needs its B-basis file, its baseline and its reference energies: without the last two its '
                'energies and forces would be wrong'
            )
        summary = read_potential(b_basis)
        missing = [element for element in summary.elements if element not in reference_energies]
        if missing:
            raise ValueError(f'there is no reference energy for {", ".join(missing)}')
        parsed = parse_options(DeltaBaseline, baseline, '`baseline`')
        parsed.plain_terms(summary.elements)
        if parsed.repels and zbl_cores(b_basis):
            raise ValueError(
                f'the .yaml has a ZBL core of the engine and the baseline (mode {parsed.mode}) adds ZBL too: atoms '
                'that collide would repel each other twice. Give a baseline that leaves ZBL to the engine, '
                "DeltaBaseline.for_elements(elements, mode='core')"
            )
        if different := differing_energies(summary, reference_energies):
            raise ValueError(f'the reference energies are not those of the fit ({different})')
        if c_tilde is not None:
            tilde = read_ctilde(c_tilde)
            if sorted(tilde.elements) != sorted(summary.elements):
                raise ValueError(
                    f'the .yace describes {sorted(tilde.elements)} but the .yaml {sorted(summary.elements)}'
                )
            self.base.repository.put_object_from_bytes(c_tilde, self.C_TILDE)
        self.base.repository.put_object_from_bytes(b_basis, self.B_BASIS)
        self.base.attributes.set_many(
            {
                'elements': sorted(summary.elements),
                'cutoff': summary.cutoff,
                'n_functions': summary.n_functions,
                'n_functions_per_element': dict(summary.n_functions_per_element),
                'baseline': parsed.complete_for(summary.elements).model_dump(mode='json'),
                'reference_energies': {element: reference_energies[element] for element in sorted(summary.elements)},
                'versions': {key: value for key, value in sorted(summary.metadata.items()) if key.endswith('version')},
            }
        )

    def __str__(self) -> str:
        return f'{super().__str__()}: ACE of {"-".join(self.elements)}, {self.n_functions} functions, {self.cutoff} Å'

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that the potential describes, sorted."""
        return list(self.base.attributes.get('elements'))

    @property
    def cutoff(self) -> float:
        """Largest cutoff of any bond in angstrom."""
        return float(self.base.attributes.get('cutoff'))

    @property
    def n_functions(self) -> int:
        """Number of basis functions."""
        return int(self.base.attributes.get('n_functions'))

    @property
    def n_functions_per_element(self) -> dict[str, int]:
        """Number of basis functions around each central element."""
        return dict(self.base.attributes.get('n_functions_per_element'))

    @property
    def baseline(self) -> DeltaBaseline:
        """What was subtracted from the labels before the fit and has to be added to what the potential says."""
        return DeltaBaseline.from_stored(self.base.attributes.get('baseline'))

    @property
    def reference_energies(self) -> dict[str, float]:
        """Atomic reference energy (E0) of each element in eV: that of the isolated atom, or one that was fitted."""
        return dict(self.base.attributes.get('reference_energies'))

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the programs that made the potential."""
        return dict(self.base.attributes.get('versions'))

    @property
    def has_c_tilde(self) -> bool:
        """Whether the C-tilde ``.yace`` is there."""
        return self.C_TILDE in self.base.repository.list_object_names()

    def get_b_basis(self) -> bytes:
        """Return the content of the B-basis ``.yaml``."""
        return self.base.repository.get_object_content(self.B_BASIS, 'rb')

    def get_c_tilde(self) -> bytes:
        """Return the content of the C-tilde ``.yace``.

        :raises FileNotFoundError: if the potential has none, see :func:`how_to_convert`.
        """
        return self.base.repository.get_object_content(self.C_TILDE, 'rb')

    def to_lammps(self, *, active_set: bool | PaceActiveSetData = False, stem: str = 'potential') -> str:
        """Return the LAMMPS lines of this potential and its baseline.

        :param active_set: use ``pace/extrapolation`` with the B-basis and an active set, which also gives the
            extrapolation grade gamma, instead of ``pace`` with the C-tilde basis. Given the active set itself, the
            lines also say of which interactions gamma knows nothing, because the data never had them.
        :param stem: name of the files without their endings, as written by :meth:`write_files`.
        :raises ValueError: if the lines would name a ``.yace`` that the potential does not have.
        """
        if active_set is False and not self.has_c_tilde:
            raise ValueError(
                f'the potential has no .yace, which `pair_style pace` reads. {how_to_convert("potential")}. '
                '`to_lammps(active_set=True)` gives the lines of `pace/extrapolation`, which reads the .yaml and an '
                'active set'
            )
        return self._lammps_lines(active_set, stem)

    def _lammps_lines(self, active_set: bool | PaceActiveSetData, stem: str) -> str:
        note = _note(self._unseen_by(active_set)) if isinstance(active_set, PaceActiveSetData) else ''
        return note + to_lammps(
            self.baseline,
            self.elements,
            f'{stem}.yaml' if active_set else f'{stem}.yace',
            active_set=f'{stem}.asi' if active_set is not False else None,
        )

    def to_ase(self, active_set: PaceActiveSetData | None = None) -> BaseCalculator:
        """Return an ASE calculator for this potential and its baseline; it needs python-ace where it is called.

        The energy is relative to the isolated atoms. With an active set, ``results['gamma']`` has the extrapolation
        grade of each atom; it is infinite for interactions that the data of the active set never had.

        :raises ImportError: if python-ace is not installed beside AiiDA.
        """
        if active_set is None:
            return build_calculator(self.get_b_basis(), self.baseline)
        unseen = self._unseen_by(active_set)
        if unseen is None:
            warnings.warn(UNKNOWN, stacklevel=2)
        return build_calculator(self.get_b_basis(), self.baseline, active_set.content, unseen)

    def _unseen_by(self, active_set: PaceActiveSetData) -> Unseen | None:
        """Return the interactions that an active set knows nothing of; None if nobody knows."""
        if active_set.unseen is None and active_set.kind == 'linear':
            return unseen_by_matrix(active_set.content, read_potential(self.get_b_basis()))
        return active_set.unseen

    def write_files(
        self, folder: str | Path, *, active_set: PaceActiveSetData | None = None, stem: str = 'potential'
    ) -> list[Path]:
        """Write the potential as files for other programs: ``.yaml``, ``.yace``, ``.asi`` and the LAMMPS lines.

        Where these need a table, because no style of LAMMPS has the baseline, it is written too (``.table``). Of a
        potential without a ``.yace``, ``.without_yace.txt`` says how to make it, and has the lines for it; a warning
        says so too.

        Baseline and reference energies, without which these say something else, are in ``.baseline.json``;
        ``import_potential_file`` reads all of it back.

        :param folder: where to; it is made if it is not there.
        :param active_set: active set to write with it.
        :param stem: name of the files without their endings, of letters, digits, dots, dashes and underscores.
        :returns: the paths that were written.
        :raises ValueError: if the stem is none of these.
        """
        if STEM.fullmatch(stem) is None:
            raise ValueError(
                f'found the stem {stem!r}, needed: a name of letters, digits, dots, dashes and underscores'
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        contents = {f'{stem}.yaml': self.get_b_basis()}
        whole = {'.yaml': self.get_b_basis()}
        if self.has_c_tilde:
            contents[f'{stem}.yace'] = whole['.yace'] = self.get_c_tilde()
            contents[f'{stem}.in.lammps'] = self.to_lammps(stem=stem).encode()
        else:
            left_out = f'{stem}.yace and {stem}.in.lammps are not written: the potential has no .yace'
            contents[f'{stem}.without_yace.txt'] = (
                f'{left_out}, which `pair_style pace` of LAMMPS reads.\n{how_to_convert(stem)}.\n\n'
                f'The lines for LAMMPS, when {stem}.yace is there:\n\n{self._lammps_lines(False, stem)}'
            ).encode()
            warnings.warn(f'{left_out}. {how_to_convert(stem)}', stacklevel=2)
        if active_set is not None:
            contents[f'{stem}.asi'] = active_set.content
            contents[f'{stem}.extrapolation.in.lammps'] = self.to_lammps(active_set=active_set, stem=stem).encode()
        table = lammps_table(self.baseline, self.elements)
        if table is not None:
            contents[table_file_of(f'{stem}.yaml')] = table.encode()
        contents[f'{stem}{COMPANION}'] = write_companion(self.baseline, self.reference_energies, whole)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return [folder / name for name in contents]


def how_to_convert(stem: str) -> str:
    """Return how a ``.yace`` is made of a ``.yaml``.

    :param stem: name of the files without their endings.
    """
    return (
        f'To have it, run `pace_yaml2yace {stem}.yaml -o {stem}.yace` where python-ace is installed (after '
        '`write_files`), or give the training a code of pace_yaml2yace (`yace_code`)'
    )


def _note(unseen: Unseen | None) -> str:
    """Return what LAMMPS lines have to say of what gamma does not see, as comments; empty if there is nothing."""
    if unseen is None:
        return f'# {UNKNOWN}\n'
    if not unseen:
        return ''
    return (
        f'# Interactions without data: {unseen.text}.\n'
        '# The potential is fitted to nothing there, and the gamma of pace/extrapolation does not tell: it may be 0.\n'
    )
