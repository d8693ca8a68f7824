"""The ``potential`` section of the engine's input: the shape of the ACE basis."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from aiida_pacemaker.pace.config.sections import Section


class Embedding(Section):
    r"""The energy of an atom as a function of its densities.

    :math:`E = \sum_p c_p \rho_p^{m_p}`; ``[1, 1]`` is the linear embedding (Drautz, Phys. Rev. B 99 (2019) 014104).
    """

    npot: Literal['FinnisSinclair', 'FinnisSinclairShiftedScaled'] | None = Field(
        None, description='embedding function; the shifted one is smooth where a density vanishes'
    )
    fs_parameters: tuple[float, ...] | None = Field(
        None, strict=False, min_length=2, description='prefactor and exponent of each density'
    )
    ndensity: int | None = Field(None, ge=1, description='number of densities')
    rho_core_cut: float | None = Field(
        None, gt=0, description='core repulsion energy above which ACE is switched off, eV. Engine default: 100000.'
    )
    drho_core_cut: float | None = Field(None, gt=0, description='width of that switch, eV. Engine default: 250.')


class Bond(Section):
    """Radial functions of a pair of elements."""

    radbase: Literal['SBessel', 'ChebExpCos', 'ChebPow', 'ChebLinear'] | None = Field(
        None, description='radial basis; ChebLinear with pyace only'
    )
    radparameters: tuple[float, ...] | None = Field(
        None, strict=False, min_length=1, max_length=1, description='exponent of the Chebyshev bases'
    )
    rcut: float | None = Field(None, gt=0, le=20, description='outer cutoff in angstrom')
    dcut: float | None = Field(None, gt=0, description='width of the outer cutoff in angstrom')
    NameOfCutoffFunction: Literal['cos'] | None = Field(None, description='the only cutoff function of the engine')
    r_in: float | None = Field(None, ge=0, description='inner cutoff in angstrom. Engine default: 0.')
    delta_in: float | None = Field(None, ge=0, description='width of the inner cutoff in angstrom. Engine default: 0.')
    core_repulsion: tuple[float, float] | None = Field(
        None,
        alias='core-repulsion',
        strict=False,
        description='prefactor A (eV angstrom) and decay b (1/angstrom^2) of A exp(-b r^2)/r inside the inner cutoff',
    )
    inner_cutoff_type: Literal['distance', 'density', 'zbl'] | None = Field(
        None, description='what switches ACE off at short range, the same for all bonds. Engine default: distance.'
    )
    nradbase: int | None = Field(None, ge=1, description='radial basis functions. Engine default: as many as needed.')
    nradmax: int | None = Field(None, ge=0, description='radial functions. Engine default: as many as needed.')
    lmax: int | None = Field(None, ge=0, description='largest l. Engine default: as large as needed.')


class FunctionShape(Section):
    """How far the functions of a block reach; entry k counts for order k + 1, which has body order k + 2."""

    nradmax_by_orders: tuple[int, ...] | None = Field(
        None, strict=False, min_length=1, max_length=12, description='largest n of each order'
    )
    lmax_by_orders: tuple[int, ...] | None = Field(
        None, strict=False, min_length=1, max_length=12, description='largest l of each order, 0 for the first'
    )
    coefs_init: Literal['zero', 'random'] | None = Field(
        None, description='coefficients to begin with. Engine default: zero.'
    )


class Functions(Section):
    """Basis functions by groups of elements (``ALL``, ``UNARY``, ...) or by elements, central atom first (``AlNi``)."""

    model_config = ConfigDict(extra='allow')

    __pydantic_extra__: dict[str, FunctionShape] = Field(init=False)

    number_of_functions_per_element: int | None = Field(
        None, ge=1, description='keep so many functions per element, simplest first. Engine default: all.'
    )


class Potential(Section):
    """The shape of the basis. What is left out is expanded from the short form."""

    refused: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ('filename', 'reset', 'initial_potential'),
            'set by the `potential` and `potential_mode` inputs of the calculation; leave it out',
        ),
        'metadata': 'set the top-level metadata',
        'element': 'the form for one element is outdated; use elements, embeddings, bonds and functions',
    }

    delta_spline_bins: float | None = Field(
        None,
        alias='deltaSplineBins',
        gt=0,
        description='spacing of the radial splines in angstrom. Engine default: 0.001.',
    )
    elements: tuple[str, ...] | None = Field(None, strict=False, min_length=1, description='chemical symbols')
    embeddings: dict[str, Embedding] | None = Field(None, description='by ALL, UNARY or element')
    bonds: dict[str, Bond] | None = Field(None, description='by ALL, UNARY, BINARY or pair of elements')
    functions: Functions | None = Field(None, description='basis functions by groups of elements')
    overwrite_blocks_from_initial_bbasis: bool | None = Field(
        None, description='when a potential is extended: keep its blocks as they are. Engine default: false.'
    )
