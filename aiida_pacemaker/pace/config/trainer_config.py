"""The configuration of a fit: a short form for what one usually says, and every key of the engine for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from aiida_pacemaker.errors import ProblemsError, printable
from aiida_pacemaker.option_errors import known_paths, parse_options
from aiida_pacemaker.pace.config.expansion import (
    BACKENDS,
    EMBEDDING,
    LINEAR,
    LINEAR_CUTOFF,
    LOSS,
    OPEN_DEGREE,
    TRAINABLE,
    bond_of,
    deep_merge,
    degree_shape_of,
    radial_basis_of,
    shape_of,
)
from aiida_pacemaker.pace.config.forms import in_one_form
from aiida_pacemaker.pace.config.linear_checks import check_linear, not_linear
from aiida_pacemaker.pace.config.linear_section import Linear
from aiida_pacemaker.pace.config.potential_checks import bonds_of, check_keys, check_shape, check_values
from aiida_pacemaker.pace.config.potential_section import Potential
from aiida_pacemaker.pace.config.sections import Backend, Data, Fit, Kappa, Section
from aiida_pacemaker.pace.config.short_range import overwritten_by_auto
from aiida_pacemaker.pace.config.species import GROUPS, SYMBOLS, species_of

Problem = tuple[str, str]

#: Keys of the engine that act with some evaluators only.
EVALUATOR_KEYS = {
    ('pyace',): ('backend.parallel_mode',),
    ('linear', 'pyace'): ('backend.n_workers',),
    ('linear',): ('linear',),
    ('tensorpot',): (
        'backend.batch_size',
        'backend.batch_size_reduction',
        'backend.batch_size_reduction_factor',
        'backend.gpu_config',
        'fit.loss.w_orth',
        'fit.min_relative_test_loss_per_iter',
    ),
}
#: The sections that ``extra`` can add to.
SECTIONS: dict[str, type[Section]] = {'potential': Potential, 'fit': Fit, 'backend': Backend, 'data': Data}
#: Keys of the short form with the path of the section key that says the same.
SHORT_FORM = {'max_epochs': 'fit.maxiter', 'kappa': 'fit.loss.kappa', 'evaluator': 'backend.evaluator'}


class TrainerConfig(Section):
    """What to fit and how.

    The short form (``elements``, ``r_cut``, ``max_deg``, ...) expands into the sections of the engine's input, which
    :meth:`sections` shows. The sections that are given override the expansion: key by key in ``fit``, ``backend`` and
    ``data``; in ``potential``, each of ``embeddings``, ``bonds`` and ``functions`` replaces the expanded one. Saying
    two different things in the short form and in a section is an error.

    Where the energy is linear in the coefficients, the short form stands for an exact linear fit (``evaluator:
    linear``), whose weights and prior are in the section ``linear``. ``max_deg`` is then the largest sum of all n and l
    of a function of order 2 and more. For fits by iterations it is shared by the factors of a function, equally for n
    and for l.

    With ``potential.functions``, in place of ``max_deg``, a configuration is in the words of the engine, and what it
    does not say is what the engine does: all parameters are fitted, there is no regularisation, and forces have no
    weight (``kappa`` 0). Terms are never added to a ``fit.loss`` that is given.

    Use :func:`parse_config` to read one from a mapping with messages for people.
    """

    refused: ClassVar[dict[str, str]] = {
        'cutoff': 'written from r_cut, or the largest rcut of potential.bonds; set these',
    }

    elements: tuple[str, ...] = Field(strict=False, min_length=1, description='chemical symbols of the potential')
    r_cut: float | None = Field(
        None,
        gt=0,
        le=20,
        description='outer cutoff in angstrom. Default of linear fits: 5.5; otherwise needed unless potential.bonds is '
        'given.',
    )
    max_deg: int | None = Field(
        None,
        ge=1,
        description='total degree of the basis functions. Default of linear fits: the largest that the data can bear; '
        'otherwise needed unless potential.functions is given.',
    )
    max_order: int | None = Field(
        None, ge=1, le=12, description='largest correlation order; the body order is one more. Default: 3.'
    )
    max_epochs: int | None = Field(
        None,
        ge=1,
        description='iterations of the optimizer (fit.maxiter), which linear fits do not have. Default: 100.',
    )
    kappa: Kappa | None = Field(
        None,
        description='weight of the forces, 0 to 1, or auto (fit.loss.kappa); of linear fits only with linear.prior '
        'pacemaker. Default: 0.3; with potential.functions 0.',
    )
    evaluator: Literal['linear', 'pyace', 'tensorpot'] | None = Field(
        None,
        description='linear solves for the minimum exactly, pyace needs no TensorFlow, tensorpot is fast '
        '(backend.evaluator). Default: linear where the embedding is; pyace with potential.functions.',
    )
    seed: int = Field(42, ge=0, lt=2**32, description='seed of all random numbers')
    active_set_size: int | None = Field(
        None, ge=1, description='structures chosen at once from candidates by D-optimality, at most. Default: no limit.'
    )
    potential: Potential | None = Field(None, description='shape of the basis, in the words of the engine')
    fit: Fit | None = Field(None, description='loss, optimizer and cycles, in the words of the engine')
    backend: Backend | None = Field(None, description='evaluator and parallel running, in the words of the engine')
    data: Data | None = Field(None, description='treatment of the data, in the words of the engine')
    linear: Linear | None = Field(None, description='weights, prior and short range of a linear fit')
    metadata: dict[str, str] = Field(
        default_factory=dict, description='notes for the input file; the engine does not copy them into the potential'
    )
    extra: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description='keys by section that are not known here, for other versions of the engine; taken as they are',
    )

    @model_validator(mode='after')
    def _consistent(self) -> TrainerConfig:
        problems = self._check_elements() + self._check_short_form() + self._check_extra()
        if not problems:
            potential = self._known_sections()['potential']
            problems = [(f'potential.{path}', text) for path, text in check_keys(potential) or check_values(potential)]
            problems += self._check_evaluator() + self._check_trainable()
            problems += check_linear(self.to_dict(), self._known_sections()) if self.used_evaluator == 'linear' else []
            problems += [] if problems else self._check_cutoff() + self._check_repulsion()
        if problems:
            raise ProblemsError(problems)
        return self

    @property
    def in_words_of_the_engine(self) -> bool:
        """Whether the basis is given as the engine reads it, so that its defaults are those of the engine too."""
        return self.potential is not None and self.potential.functions is not None

    @property
    def used_evaluator(self) -> str:
        """What fits: the evaluator that is given, or else `linear` where the embedding is, or `pyace`."""
        given = self.to_dict()
        chosen = self.evaluator or _get(given, 'backend.evaluator')
        if chosen is not None:
            return str(chosen)
        if self.in_words_of_the_engine or not_linear(_get(given, 'potential.embeddings'), self.elements):
            # In the words of the engine, what is not said is what the engine does.
            return 'pyace'
        return 'linear'

    @property
    def linear_section(self) -> dict[str, Any]:
        """The section `linear`, with what is not said."""
        return {**LINEAR, **self.to_dict().get('linear', {})}

    @property
    def degree_is_open(self) -> bool:
        """Whether the degree follows from the data, as that of a linear fit does where it is not given."""
        return self.used_evaluator == 'linear' and self.max_deg is None and not self.in_words_of_the_engine

    @property
    def order(self) -> int:
        """Largest correlation order of the short form."""
        return 3 if self.max_order is None else self.max_order

    @property
    def degree(self) -> int | None:
        """Total degree of the short form; where the data choose it, the largest that they can lead to."""
        return max(OPEN_DEGREE, self.order) if self.degree_is_open else self.max_deg

    @property
    def pair_functions(self) -> int:
        """Largest n of the functions of order 1 of a linear fit beside its degree."""
        return max(int(self.linear_section['pair_functions']), self.degree or 0)

    @property
    def fits_no_forces(self) -> bool:
        """Whether forces have no weight in the loss."""
        return bool(self.sections()['fit'].get('loss', {'kappa': 1}).get('kappa', 0) == 0)

    @property
    def cutoff(self) -> float:
        """The largest outer cutoff of all pairs of elements, in angstrom: that of the neighbour lists."""
        return max(float(bond['rcut']) for bond in bonds_of(self.sections()['potential']).values())

    @property
    def maxiter(self) -> int:
        """Iterations of the optimizer in each cycle and ladder step; 0 for a linear fit, which has none."""
        return int(self.sections()['fit'].get('maxiter', 0))

    def sections(self) -> dict[str, Any]:
        """Return the sections of the engine's input as plain data, all but what names files and reference energies."""
        return deep_merge(self._known_sections(), self.to_dict()['extra'])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which :func:`parse_config` makes an equal configuration."""
        plain = self.model_dump(mode='json', by_alias=True, exclude_none=True, exclude={'extra'})
        return plain | self.model_dump(mode='json', include={'extra'})

    def _known_sections(self) -> dict[str, Any]:
        given = self.to_dict()
        evaluator = self.used_evaluator
        if evaluator == 'linear':
            return self._sections_of_linear_fit(given)
        fit = {'optimizer': 'BFGS', 'maxiter': 100 if self.max_epochs is None else self.max_epochs}
        loss = self._loss(given)
        backend = {'evaluator': evaluator}
        if not self.in_words_of_the_engine:
            fit['trainable_parameters'] = TRAINABLE[evaluator]
            backend = BACKENDS[evaluator]
        sections = {
            'seed': self.seed,
            'metadata': given['metadata'],
            'potential': self._expanded_potential() | {**given.get('potential', {}), 'elements': sorted(self.elements)},
            'data': given.get('data', {}),
            'fit': deep_merge({'loss': loss, **fit}, given.get('fit', {})),
            'backend': deep_merge(backend, given.get('backend', {})),
        }
        weighting = sections['fit'].get('weighting')
        if weighting is not None:
            # Without a seed the engine draws the structures, and all random numbers after them, from the clock.
            sections['fit']['weighting'] = {'seed': self.seed, **weighting}
        return deepcopy(sections)

    def _sections_of_linear_fit(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the sections of a linear fit; of the fit of the engine there is the loss, where that is minimised."""
        fit: dict[str, Any] = {}
        if self.linear_section['prior'] == 'pacemaker':
            # Its solution has no L1 penalty.
            loss = {key: value for key, value in self._loss(given).items() if key != 'L1_coeffs'}
            fit = deep_merge({'loss': loss}, given.get('fit', {}))
        sections = {
            'seed': self.seed,
            'metadata': given['metadata'],
            'potential': self._expanded_potential() | {**given.get('potential', {}), 'elements': sorted(self.elements)},
            'data': given.get('data', {}),
            'fit': fit,
            'backend': deep_merge(BACKENDS['linear'], given.get('backend', {})),
            'linear': self.linear_section,
        }
        return deepcopy(sections)

    def _loss(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the loss that is not given in the section `fit`."""
        words_of_the_engine = self.in_words_of_the_engine
        # The weight of the forces is always written, also where it is that of the engine.
        loss = {'kappa': (0 if words_of_the_engine else 0.3) if self.kappa is None else self.kappa}
        return loss if words_of_the_engine or _get(given, 'fit.loss') is not None else loss | LOSS

    def _expanded_potential(self) -> dict[str, Any]:
        evaluator = self.used_evaluator
        expanded: dict[str, Any] = {
            'elements': sorted(self.elements),
            'deltaSplineBins': 0.001,
            'embeddings': {'ALL': EMBEDDING},
        }
        r_cut = LINEAR_CUTOFF if self.r_cut is None and evaluator == 'linear' else self.r_cut
        if r_cut is not None:
            expanded['bonds'] = {'ALL': bond_of(r_cut, radial_basis_of(evaluator))}
        if self.degree is not None:
            expanded['functions'] = {'ALL': self._shape_of(self.degree)}
        return expanded

    def _shape_of(self, degree: int) -> dict[str, list[int]]:
        """Return the largest n and l of each order for a total degree."""
        if self.used_evaluator != 'linear':
            return shape_of(degree, self.order)
        return degree_shape_of(degree, self.pair_functions, self.order)

    def _check_elements(self) -> list[Problem]:
        problems = []
        unknown = sorted(set(self.elements) - SYMBOLS)
        if unknown:
            problems.append(('elements', f'no chemical symbols: {", ".join(map(printable, unknown))}'))
        if len(set(self.elements)) < len(self.elements):
            problems.append(('elements', f'found {", ".join(self.elements)}, needed: each once'))
        within = self.potential.elements if self.potential is not None else None
        if within is not None and set(within) != set(self.elements):
            text = f'found {", ".join(within)}, needed: the same as elements, {", ".join(self.elements)}'
            problems.append(('potential.elements', text))
        return problems

    def _check_short_form(self) -> list[Problem]:
        problems: list[Problem] = []
        given = self.to_dict()
        for key, path in SHORT_FORM.items():
            long = _get(given, path)
            if key in given and long is not None and long != given[key]:
                problems.append((key, f'found {given[key]!r}, but {path} is {long!r}; keep one of them'))
        linear = self.used_evaluator == 'linear'
        if self.r_cut is None and _get(given, 'potential.bonds') is None and not linear:
            problems.append(('r_cut', 'missing; needed: the outer cutoff in angstrom, or potential.bonds'))
        functions = _get(given, 'potential.functions')
        if functions is None and self.max_deg is None and not linear:
            problems.append(('max_deg', 'missing; needed: the total degree of the functions, or potential.functions'))
        for key in ('max_deg', 'max_order'):
            if functions is not None and key in given:
                problems.append((key, 'potential.functions says this too; keep one of them'))
        if functions is None and self.max_deg is not None and self.max_deg < self.order:
            text = f'found {self.max_deg}, needed: at least max_order, {self.order}, one degree for each factor'
            problems.append(('max_deg', text))
        elif functions is None and self.degree is not None:
            beyond = check_shape(tuple(self.elements), self._shape_of(self.degree))
            key, found = 'max_deg', f'found {self.max_deg}'
            if self.max_deg is None:
                key, found = 'max_order', f'found {self.order} without max_deg'
            problems += [(key, f'{found}, which gives {name}: {text}') for name, text in beyond[:1]]
        return problems

    def _check_extra(self) -> list[Problem]:
        problems: list[Problem] = []
        known = list(known_paths(TrainerConfig))
        for name, keys in self.extra.items():
            if name not in SECTIONS:
                problems.append((f'extra.{name}', f'unknown section; known: {", ".join(SECTIONS)}'))
                continue
            refused = SECTIONS[name].refused
            problems += [(f'extra.{name}.{key}', refused[key]) for key in keys if key in refused]
            for path in _paths(keys, f'{name}.'):
                if any(fnmatchcase(path, pattern) for pattern in known):
                    problems.append((f'extra.{path}', f'is a known key; give it as {path}'))
        return problems

    def _check_evaluator(self) -> list[Problem]:
        problems: list[Problem] = []
        sections, given = self.sections(), self.to_dict()
        evaluator = sections['backend']['evaluator']
        for readers, paths in EVALUATOR_KEYS.items():
            for path in paths if evaluator not in readers else ():
                # What a linear fit reads of the section `fit` is checked elsewhere.
                if _get(given, path) is not None and not (evaluator == 'linear' and path.startswith('fit.')):
                    found = f'read by {" and ".join(readers)} only, and the evaluator is {evaluator}'
                    problems.append((path, f'{found}; leave it out, or set evaluator: {" or ".join(readers)}'))
        if (
            evaluator == 'pyace'
            and _get(given, 'backend.n_workers')
            and sections['backend']['parallel_mode'] != 'process'
        ):
            problems.append(('backend.n_workers', 'read with parallel_mode process only'))
        optimizer = sections['fit'].get('optimizer')
        if evaluator == 'tensorpot' and optimizer == 'Nelder-Mead':
            problems.append(('fit.optimizer', 'found Nelder-Mead, which tensorpot does not have; use BFGS or L-BFGS-B'))
        bonds = sections['potential'].get('bonds', {})
        if evaluator == 'tensorpot' and any(bond.get('radbase') == 'ChebLinear' for bond in bonds.values()):
            problems.append(('potential.bonds', 'radbase ChebLinear is not in tensorpot; use SBessel'))
        return problems

    def _check_trainable(self) -> list[Problem]:
        trainable = self.sections()['fit'].get('trainable_parameters', 'ALL')
        names = [trainable] if isinstance(trainable, str) else list(trainable)
        species = {one for name in names if name not in (*GROUPS, 'func', 'radial') for one in species_of(name)}
        strangers = sorted(species - set(self.elements))
        if strangers:
            text = f'{", ".join(strangers)} not among the elements {", ".join(self.elements)}'
            return [('fit.trainable_parameters', text)]
        return []

    def _check_cutoff(self) -> list[Problem]:
        if self.r_cut is not None and self.r_cut != self.cutoff:
            text = f'found {self.r_cut}, but the largest rcut of potential.bonds is {self.cutoff}; keep one of them'
            return [('r_cut', text)]
        return []

    def _check_repulsion(self) -> list[Problem]:
        """Look for short-range settings that the engine would overwrite after its fit, but fit with."""
        sections = self.sections()
        if sections['fit'].get('repulsion') != 'auto':
            return []
        found = overwritten_by_auto(sections['potential'])
        return [
            (
                f'potential.bonds.{key}',
                f'{", ".join(names)} would be overwritten by fit.repulsion auto; needed: only one',
            )
            for key, names in found.items()
        ]


def parse_config(mapping: Mapping[str, Any]) -> TrainerConfig:
    """Read a configuration.

    :param mapping: the keys of :class:`TrainerConfig`, as read from YAML or JSON.
    :raises ConfigError: naming every problem, one a line: where, what was found, what is needed, the nearest known key.
    """
    return parse_options(TrainerConfig, in_one_form(mapping), 'the configuration')


def _get(mapping: Mapping[str, Any], path: str) -> Any:
    """Return what a dotted path leads to in nested mappings, or None."""
    value: Any = mapping
    for part in path.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _paths(mapping: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the dotted paths of all leaves."""
    paths = []
    for key, value in mapping.items():
        paths += _paths(value, f'{prefix}{key}.') if isinstance(value, Mapping) and value else [f'{prefix}{key}']
    return paths
