"""What a baseline is: the parameters that travel with a dataset and with every potential fitted to it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from aiida_pacemaker.baseline.elements import atomic_number
from aiida_pacemaker.baseline.lj import default_pair
from aiida_pacemaker.baseline.zbl import default_cutoffs


def _element(symbol: str) -> str:
    atomic_number(symbol)
    return symbol


def _alphabetical(elements: tuple[str, str]) -> tuple[str, str]:
    first, second = sorted(elements)
    return first, second


Element = Annotated[str, AfterValidator(_element)]
Positive = Annotated[float, Field(gt=0)]
Mode = Literal['delta', 'core', 'both', 'none']


class _Parameters(BaseModel):
    """Parameters that cannot change: no unknown names, no infinities."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)


class ZBLBaseline(_Parameters):
    """The ZBL repulsion between all atoms, with one pair of cutoffs for all elements as in ``pair_style zbl``."""

    inner: Positive = Field(description='Distance in angstrom where the switching to zero begins.')
    outer: Positive = Field(description='Distance in angstrom from where on the repulsion is zero.')

    @model_validator(mode='after')
    def _ordered(self) -> ZBLBaseline:
        if self.inner >= self.outer:
            raise ValueError(
                f'the ZBL repulsion is switched off between inner={self.inner:g} and outer={self.outer:g} angstrom; '
                f'inner must be the smaller one'
            )
        return self

    @property
    def cutoff(self) -> float:
        """Distance in angstrom from where on the energy is zero."""
        return self.outer


class LJPair(_Parameters):
    """The Lennard-Jones parameters of one pair of elements."""

    elements: Annotated[tuple[Element, Element], AfterValidator(_alphabetical)] = Field(
        description='The chemical symbols of the two elements; kept in alphabetical order.'
    )
    epsilon: Positive = Field(description='Depth of the well in eV.')
    sigma: Positive = Field(description='Distance in angstrom where the energy is zero.')
    cutoff: Positive = Field(description='Distance in angstrom from where on the energy is zero.')


def _by_elements(pairs: tuple[LJPair, ...]) -> tuple[LJPair, ...]:
    return tuple(sorted(pairs, key=lambda pair: pair.elements))


class LJBaseline(_Parameters):
    """A Lennard-Jones 12-6 potential with parameters for each pair of elements, as in ``pair_style lj/cut``."""

    pairs: Annotated[tuple[LJPair, ...], AfterValidator(_by_elements)] = Field(
        min_length=1, description='The parameters of each pair of elements; kept in alphabetical order.'
    )
    shift: bool = Field(default=True, description='Whether the energy is shifted to zero at the cutoff.')

    @model_validator(mode='after')
    def _distinct(self) -> LJBaseline:
        keys = [pair.elements for pair in self.pairs]
        twice = sorted({'-'.join(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f'LJ parameters are given more than once for {", ".join(twice)}; keep one of each')
        return self

    @property
    def cutoff(self) -> float:
        """The largest cutoff of all pairs, in angstrom."""
        return max(pair.cutoff for pair in self.pairs)

    def pairs_of(self, elements: Iterable[str]) -> tuple[LJPair, ...]:
        """Return the parameters of all pairs that these elements make, in alphabetical order.

        :param elements: chemical symbols.
        :raises ValueError: if a pair has no parameters.
        """
        known = {pair.elements: pair for pair in self.pairs}
        needed = list(combinations_with_replacement(sorted(set(elements)), 2))
        missing = ['-'.join(key) for key in needed if key not in known]
        if missing:
            raise ValueError(
                f'the LJ baseline has no parameters for {", ".join(missing)} (it has '
                f'{", ".join("-".join(key) for key in known)}); add an LJPair for each, or build the baseline for all '
                f'elements of the dataset at once with DeltaBaseline.for_elements'
            )
        return tuple(known[key] for key in needed)


class DeltaBaseline(_Parameters):
    """The reference energies that a potential is fitted on top of: ZBL always, LJ where it is wanted.

    ``mode`` says who provides the ZBL repulsion. An LJ baseline is subtracted in every mode.

    * ``delta``: we do. It is subtracted from the labels, the potential learns the difference, and it is added again
      wherever the potential is used.
    * ``core``: the engine does (``fit: repulsion: auto``), from the shortest distance of each pair in the data inwards.
      Its cutoffs are not used and it is not subtracted.
    * ``both``: we do, as in ``delta``, and the engine also switches ACE off there (``engine_inner_cutoff``), so
      that nothing but the baseline is left where atoms collide.
    * ``none``: nobody does, and there is no LJ either. For potentials that were fitted elsewhere without any repulsion
      (``import_potential``) and for what continues from them; no fit of our own begins without ZBL.
    """

    mode: Mode = Field(default='delta', description='Who provides the ZBL repulsion.')
    zbl: ZBLBaseline | None = Field(default=None, description='The ZBL repulsion; mandatory but for the mode `none`.')
    lj: LJBaseline | None = Field(default=None, description='A Lennard-Jones potential, subtracted in every mode.')

    @model_validator(mode='after')
    def _zbl_is_mandatory(self) -> DeltaBaseline:
        if self.mode == 'none' and (self.zbl, self.lj) != (None, None):
            raise ValueError('the mode none is for potentials without any baseline; leave out zbl and lj')
        if self.mode != 'none' and self.zbl is None:
            raise ValueError('zbl is needed: give its cutoffs, or use DeltaBaseline.for_elements')
        return self

    @classmethod
    def for_elements(cls, elements: Iterable[str], *, lj: bool = False, mode: Mode = 'delta') -> DeltaBaseline:
        """Return the default baseline, which follows from the elements alone.

        :param elements: chemical symbols; their order and repetitions do not matter.
        :param lj: whether a Lennard-Jones potential is part of it (``lj.default_pair`` says which).
        :param mode: who provides the ZBL repulsion.
        :raises ValueError: if there are no elements, or if the covalent radius of one is not known.
        """
        symbols = sorted(set(elements))
        if mode == 'none':
            return cls(mode=mode)
        inner, outer = default_cutoffs(symbols)
        pairs = [
            dict(zip(('elements', 'epsilon', 'sigma', 'cutoff'), (key, *default_pair(*key)), strict=True))
            for key in combinations_with_replacement(symbols, 2)
        ]
        return cls(
            mode=mode,
            zbl=ZBLBaseline(inner=inner, outer=outer),
            lj=LJBaseline.model_validate({'pairs': pairs}) if lj else None,
        )

    def subtracted(self) -> tuple[ZBLBaseline | LJBaseline, ...]:
        """Return the terms that are subtracted from the labels and added again to the potential."""
        terms: list[ZBLBaseline | LJBaseline] = []
        if self.zbl is not None and self.mode != 'core':
            terms.append(self.zbl)
        if self.lj is not None:
            terms.append(self.lj)
        return tuple(terms)

    @property
    def cutoff(self) -> float:
        """Distance in angstrom from where on all subtracted terms are zero; zero where nothing is subtracted."""
        return max((term.cutoff for term in self.subtracted()), default=0.0)

    @property
    def engine_repulsion(self) -> bool:
        """Whether the engine adds its own ZBL repulsion (``fit: repulsion: auto``)."""
        return self.mode == 'core'

    @property
    def engine_inner_cutoff(self) -> dict[str, float | str | list[float]] | None:
        """The keywords of ``potential: bonds: ALL`` that switch ACE off where atoms collide, or None where it stays on.

        ACE fades out over the very distances over which the ZBL repulsion fades in.
        """
        if self.zbl is None or self.mode != 'both':
            return None
        return {
            'r_in': self.zbl.outer,
            'delta_in': self.zbl.outer - self.zbl.inner,
            'core-repulsion': [0.0, 1.0],
            'inner_cutoff_type': 'distance',
        }
