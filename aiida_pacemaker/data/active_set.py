"""The active-set node: what the extrapolation grade of a potential is measured against."""

from __future__ import annotations

import io
import math
from typing import Any, ClassVar

from aiida import orm
from aiida.orm.pydantic import OrmMetadataField

from aiida_pacemaker.pace.output.active_sets import read_active_set
from aiida_pacemaker.pace.unseen import Unseen


class PaceActiveSetData(orm.SinglefileData):
    """The inverted active set of a potential, as written by ``pace_activeset``.

    For each element it holds the pseudo-inverse of the matrix of the atomic environments that span the basis best
    (D-optimality, found by MaxVol). The extrapolation grade gamma of an atom is the largest coefficient of its own
    environment in that basis: Lysogorskiy et al., Phys. Rev. Materials 7, 043801 (2023).

    Of interactions that its data never had the file says nothing: they are in :attr:`unseen`, and gamma is infinite
    for atoms that have them.
    """

    FILENAMES: ClassVar[dict[str, str]] = {'linear': 'active_set.asi', 'full': 'active_set.asi.nonlinear'}

    class AttributesModel(orm.SinglefileData.AttributesModel):
        """What can be queried without opening the file."""

        kind: str = OrmMetadataField(description='`linear`, or `full` for the linearised design matrix')
        sizes: dict[str, int] = OrmMetadataField(description='Number of environments of each element')
        condition_numbers: dict[str, float] = OrmMetadataField(description='Condition number of the matrix per element')
        unseen: dict[str, Any] | None = OrmMetadataField(
            default=None, description='Cutoffs, and interactions that the data never had; None if nobody knows'
        )

    def __init__(
        self, content: bytes | None = None, *, kind: str = 'linear', unseen: Unseen | None = None, **kwargs: Any
    ) -> None:
        """Construct an active set from the content of its file.

        :param content: content of the ``.asi`` file.
        :param kind: `linear`, or `full` for the linearised design matrix.
        :param unseen: the interactions of the potential that the data of the active set never had.
        :raises ValueError: if the content is not an active set, if a matrix is singular, or if the kind is not known.
        """
        if content is None:
            raise ValueError('an active set needs the content of its file')
        if kind not in self.FILENAMES:
            raise ValueError(f'the kind of an active set is one of {sorted(self.FILENAMES)}, not `{kind}`')
        blocks = read_active_set(content)
        singular = sorted(element for element, block in blocks.items() if not math.isfinite(block.condition_number))
        if singular:
            raise ValueError(
                f'the matrix of {", ".join(singular)} is singular, so it measures nothing: the structures do not tell '
                'the functions apart. Use fewer (`max_deg`, in linear fits also `linear.pair_functions`), or add '
                'structures that differ more'
            )
        super().__init__(io.BytesIO(content), filename=self.FILENAMES[kind], **kwargs)
        self.base.attributes.set_many(
            {
                'kind': kind,
                'sizes': {element: block.size for element, block in sorted(blocks.items())},
                'condition_numbers': {element: block.condition_number for element, block in sorted(blocks.items())},
            }
        )
        self.unseen = unseen

    def __str__(self) -> str:
        return f'{super().__str__()}: {self.kind} active set of {"-".join(self.elements)}'

    @property
    def kind(self) -> str:
        """`linear`, or `full` for the linearised design matrix."""
        return str(self.base.attributes.get('kind'))

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that the active set covers, sorted."""
        return sorted(self.sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of environments of each element."""
        return dict(self.base.attributes.get('sizes'))

    @property
    def condition_numbers(self) -> dict[str, float]:
        """Condition number of the matrix of each element."""
        return dict(self.base.attributes.get('condition_numbers'))

    @property
    def unseen(self) -> Unseen | None:
        """Interactions of the potential that the data never had, for which gamma is infinite; None if not known."""
        plain = self.base.attributes.get('unseen', None)
        return None if plain is None else Unseen.from_plain(plain)

    @unseen.setter
    def unseen(self, unseen: Unseen | None) -> None:
        self.base.attributes.set('unseen', None if unseen is None else unseen.plain())
