"""What a baseline is: the parameters that travel with a dataset and with every potential fitted to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from aiida_pacemaker.baseline.elements import atomic_number
from aiida_pacemaker.baseline.lj import default_pair, default_switch
from aiida_pacemaker.baseline.pair_terms import PARAMETERS
from aiida_pacemaker.baseline.zbl import NO_ELEMENTS, default_cutoffs


def _element(symbol: str) -> str:
    atomic_number(symbol)
    return symbol


def _alphabetical(elements: tuple[str, str]) -> tuple[str, str]:
    first, second = sorted(elements)
    return first, second


Element = Annotated[str, AfterValidator(_element)]
Pair = Annotated[tuple[Element, Element], AfterValidator(_alphabetical)]
Positive = Annotated[float, Field(gt=0)]
Mode = Literal['delta', 'core', 'both', 'none']


class _Parameters(BaseModel):
    """Parameters that cannot change: no unknown names, no infinities."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)


def _by_elements(pairs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(pairs, key=lambda pair: pair.elements))


def _check_order(inner: float, outer: float) -> None:
    if inner >= outer:
        raise ValueError(
            f'the ZBL repulsion is switched off between inner={inner:g} and outer={outer:g} angstrom; inner must be '
            'the smaller one'
        )


def _refuse_repetitions(what: str, pairs: Sequence[ZBLPair | LJPair]) -> None:
    keys = [pair.elements for pair in pairs]
    twice = sorted({'-'.join(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f'{what} are given more than once for {", ".join(twice)}; keep one of each')


class ZBLPair(_Parameters):
    """Where the ZBL repulsion of one pair of elements ends."""

    elements: Pair = Field(description='The chemical symbols of the two elements; kept in alphabetical order.')
    inner: Positive = Field(description='Distance in angstrom where the switching to zero begins.')
    outer: Positive = Field(description='Distance in angstrom from where on the repulsion is zero.')

    @model_validator(mode='after')
    def _ordered(self) -> ZBLPair:
        _check_order(self.inner, self.outer)
        return self


class ZBLBaseline(_Parameters):
    """The ZBL repulsion between all atoms, with the constants and the switching of ``pair_style zbl``.

    The cutoffs of a pair are those in ``pairs``; if it is not listed there, ``inner`` and ``outer``; without these, the
    default that follows from the covalent radii of the two elements.
    """

    inner: Positive | None = Field(default=None, description='As of a pair, for all pairs that are not listed.')
    outer: Positive | None = Field(default=None, description='As of a pair, for all pairs that are not listed.')
    pairs: Annotated[tuple[ZBLPair, ...], AfterValidator(_by_elements)] = Field(
        default=(), description='The cutoffs of pairs of elements; kept in alphabetical order.'
    )

    @model_validator(mode='after')
    def _ordered(self) -> ZBLBaseline:
        if self.inner is not None and self.outer is not None:
            _check_order(self.inner, self.outer)
        elif (self.inner, self.outer) != (None, None):
            raise ValueError('inner and outer belong together; give both, or the cutoffs of each pair in pairs')
        elif not self.pairs:
            raise ValueError(
                'there are no cutoffs; give those of each pair in pairs, or inner and outer for all of them, or use '
                'DeltaBaseline.for_elements'
            )
        _refuse_repetitions('ZBL cutoffs', self.pairs)
        return self

    def pairs_of(self, elements: Iterable[str]) -> tuple[ZBLPair, ...]:
        """Return the cutoffs of all pairs that these elements make, in alphabetical order.

        :param elements: chemical symbols.
        :raises ValueError: if a pair has no cutoffs, and the covalent radius of one of its elements is not known.
        """
        known = {pair.elements: pair for pair in self.pairs}
        found = []
        for key in combinations_with_replacement(sorted(set(elements)), 2):
            if key in known:
                found.append(known[key])
                continue
            inner, outer = self.inner, self.outer
            if inner is None or outer is None:
                inner, outer = default_cutoffs(*key)
            found.append(ZBLPair(elements=key, inner=inner, outer=outer))
        return tuple(found)


class LJPair(_Parameters):
    """The Lennard-Jones parameters of one pair of elements.

    At short range, where ZBL repels, it is switched off: zero up to ``off``, whole from ``on`` (``pair_terms.lj`` has
    the formula). Without a word these are sigma and ``2^(1/6) sigma``, between which it attracts. ``null`` for both
    leaves all of it, as in ``pair_style lj/cut``: its twelfth power then comes on top of ZBL.
    """

    elements: Pair = Field(description='The chemical symbols of the two elements; kept in alphabetical order.')
    epsilon: Positive = Field(description='Depth of the well in eV.')
    sigma: Positive = Field(description='Distance in angstrom where the energy is zero.')
    cutoff: Positive = Field(description='Distance in angstrom from where on the energy is zero.')
    off: Positive | None = Field(default=None, description='Distance in angstrom up to which it is zero.')
    on: Positive | None = Field(default=None, description='Distance in angstrom from where on it is whole.')

    @model_validator(mode='before')
    @classmethod
    def _switch_by_default(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and not {'off', 'on'} & set(values):
            sigma = values.get('sigma')
            if isinstance(sigma, int | float) and 0 < sigma < math.inf:
                return {**values, **dict(zip(('off', 'on'), default_switch(sigma), strict=True))}
        return values

    @model_validator(mode='after')
    def _ordered(self) -> LJPair:
        if (self.off is None) != (self.on is None):
            raise ValueError('off and on belong together; give both, or null for both where nothing is switched')
        if self.off is not None and self.on is not None and not self.off < self.on < self.cutoff:
            raise ValueError(
                f'the LJ potential is switched on between off={self.off:g} and on={self.on:g} angstrom and ends at '
                f'cutoff={self.cutoff:g}; needed: off < on < cutoff (off and on follow from sigma where they are not '
                'given; null for both leaves it as in lj/cut)'
            )
        return self


class LJBaseline(_Parameters):
    """A Lennard-Jones 12-6 potential with parameters for each pair of elements, switched off at short range."""

    pairs: Annotated[tuple[LJPair, ...], AfterValidator(_by_elements)] = Field(
        min_length=1, description='The parameters of each pair of elements; kept in alphabetical order.'
    )
    shift: bool = Field(default=True, description='Whether the energy is shifted to zero at the cutoff.')

    @model_validator(mode='after')
    def _distinct(self) -> LJBaseline:
        _refuse_repetitions('LJ parameters', self.pairs)
        return self

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
    * ``both``: we do, as in ``delta``, and the engine also switches ACE off there (``engine_inner_cutoffs``), so
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
    def for_elements(
        cls,
        elements: Iterable[str],
        *,
        lj: bool = False,
        mode: Mode = 'delta',
        shortest: Mapping[tuple[str, str], float] | None = None,
    ) -> DeltaBaseline:
        """Return the default baseline, which follows from the elements and the shortest distances of their pairs.

        :param elements: chemical symbols; their order and repetitions do not matter.
        :param lj: whether a Lennard-Jones potential is part of it (``lj.default_pair`` says which).
        :param mode: who provides the ZBL repulsion.
        :param shortest: shortest distance in angstrom of each pair of elements in the data (see
            ``distances.shortest_distances``), within which ZBL ends (``zbl.default_cutoffs``); the keys are the two
            symbols in alphabetical order. Pairs that are not there are not in the data.
        :raises ValueError: if there are no elements, or if the covalent radius of one is not known.
        """
        if mode == 'none':
            return cls(mode=mode)
        keys = list(combinations_with_replacement(sorted(set(elements)), 2))
        if not keys:
            raise ValueError(NO_ELEMENTS)
        zbl_pairs = []
        for key in keys:
            inner, outer = default_cutoffs(*key, (shortest or {}).get(key))
            zbl_pairs.append(ZBLPair(elements=key, inner=inner, outer=outer))
        lj_pairs = [
            dict(zip(('elements', 'epsilon', 'sigma', 'cutoff'), (key, *default_pair(*key)), strict=True))
            for key in keys
        ]
        return cls(
            mode=mode,
            zbl=ZBLBaseline(pairs=tuple(zbl_pairs)),
            lj=LJBaseline.model_validate({'pairs': lj_pairs}) if lj else None,
        )

    @classmethod
    def from_stored(cls, content: Any) -> DeltaBaseline:
        """Return the baseline of a potential that has been fitted, whichever version of this package it is of.

        An LJ potential that does not say where it is switched was not switched.
        """
        if isinstance(content, Mapping) and isinstance(content.get('lj'), Mapping):
            pairs = [{'off': None, 'on': None, **pair} for pair in content['lj'].get('pairs', ())]
            content = {**content, 'lj': {**content['lj'], 'pairs': pairs}}
        return cls.model_validate(content)

    def complete_for(self, elements: Iterable[str]) -> DeltaBaseline:
        """Return the same baseline with the ZBL cutoffs of all pairs of these elements listed.

        :param elements: chemical symbols.
        :raises ValueError: if a pair has none (see :meth:`ZBLBaseline.pairs_of`).
        """
        if self.zbl is None:
            return self
        listed = {pair.elements: pair for pair in (*self.zbl.pairs_of(elements), *self.zbl.pairs)}
        zbl = self.zbl.model_copy(update={'pairs': _by_elements(tuple(listed.values()))})
        return self.model_copy(update={'zbl': zbl})

    def plain_for(self, elements: Iterable[str]) -> dict[str, Any]:
        """Return what the baseline says of these elements as plain data: equal where two baselines act alike on them.

        :param elements: chemical symbols.
        :raises ValueError: if a pair has no parameters.
        """
        symbols = sorted(set(elements))
        terms = [_plain(term, symbols) for term in (self.zbl, self.lj) if term is not None]
        return {'mode': self.mode, 'terms': terms}

    def plain_terms(self, elements: Iterable[str]) -> list[dict[str, Any]]:
        """Return the subtracted terms as plain data for ``pair_terms.PairTerm``, for all pairs of these elements.

        :param elements: chemical symbols.
        :raises ValueError: if a pair has no parameters.
        """
        symbols = sorted(set(elements))
        return [] if not symbols else [_plain(term, symbols) for term in self.subtracted()]

    def subtracted(self) -> tuple[ZBLBaseline | LJBaseline, ...]:
        """Return the terms that are subtracted from the labels and added again to the potential."""
        terms: list[ZBLBaseline | LJBaseline] = []
        if self.zbl is not None and self.mode != 'core':
            terms.append(self.zbl)
        if self.lj is not None:
            terms.append(self.lj)
        return tuple(terms)

    @property
    def repels(self) -> bool:
        """Whether a ZBL repulsion is subtracted: the engine must not add one."""
        return any(isinstance(term, ZBLBaseline) for term in self.subtracted())

    @property
    def engine_repulsion(self) -> bool:
        """Whether the engine adds its own ZBL repulsion (``fit: repulsion: auto``)."""
        return self.mode == 'core'

    def engine_inner_cutoffs(self, elements: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
        """Return for each pair the keywords of ``potential: bonds`` that switch ACE off where atoms collide.

        ACE fades out over the very distances over which the ZBL repulsion fades in. Empty where it stays on.

        :param elements: chemical symbols.
        """
        if self.zbl is None or self.mode != 'both':
            return {}
        return {
            pair.elements: {
                'r_in': pair.outer,
                'delta_in': pair.outer - pair.inner,
                'core-repulsion': [0.0, 1.0],
                'inner_cutoff_type': 'distance',
            }
            for pair in self.zbl.pairs_of(elements)
        }


def _plain(term: ZBLBaseline | LJBaseline, elements: Sequence[str]) -> dict[str, Any]:
    kind = 'zbl' if isinstance(term, ZBLBaseline) else 'lj'
    pairs = []
    for pair in term.pairs_of(elements):
        # Nothing is switched between zero and zero.
        parameters = {name: getattr(pair, name) or 0.0 for name in PARAMETERS[kind]}
        pairs.append({'numbers': [atomic_number(symbol) for symbol in pair.elements], **parameters})
    return {'kind': kind, 'shift': isinstance(term, LJBaseline) and term.shift, 'pairs': pairs}
