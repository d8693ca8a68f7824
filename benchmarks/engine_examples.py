"""Exact linear fits of the example data of python-ace: which basis `auto` finds, and what `pacemaker` says.

``python benchmarks/engine_examples.py FOLDER`` takes the folder ``examples`` of a clone of python-ace
(``git clone --depth 1 https://github.com/ICAMS/python-ace``), with Cu-I, Cu-II, Ethanol and HEA. Nothing of it comes
with this package. Their pickles are read by the reader that runs nothing of what is in them, with the energies that
their inputs fit (`energy_corrected`). Of each, some frames are drawn by a seed, and some of these are kept aside, but
for those that come much closer than what is fitted.

First it fits with spherical Bessel functions (`SBessel`) and with Chebyshev polynomials of a scaled distance
(`ChebExpCos`), with the default cutoff and degree, and with a basis that is chosen by cross-validation
(`linear.basis: auto`). Where the choice is between the two only, with that cutoff and degree, ``auto, radial`` says
what is taken.

Then it fits two of them by the loss of `pacemaker`, hands the potential to it, and has it fit the same functions from
nothing. The programs are those beside this Python, which has python-ace. It takes some minutes of a core; ``--only``
takes some of the examples.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from linear_driver import fit, watched

from aiida_pacemaker import parse_config
from aiida_pacemaker.baseline.distances import shortest_distances
from aiida_pacemaker.baseline.targets import write_targets
from aiida_pacemaker.frames.label_keys import LabelKeys
from aiida_pacemaker.frames.pickles.reading import read_dataset
from aiida_pacemaker.frames.table import Frames
from aiida_pacemaker.pace.config.expansion import bond_of
from aiida_pacemaker.pace.config.linear import LinearFit, linear_fit_of

TRAIN, TEST = 'train.pckl.gzip', 'test.pckl.gzip'
#: Of both, where it is not chosen: the default of linear fits, in angstrom.
CUTOFF = 5.5
PENALTY = 1e-8
#: Frames that come closer than this part of the shortest distances that are fitted are left out of those kept aside.
CLOSER = 0.9


@dataclass(frozen=True)
class Example:
    """One of the examples.

    :param file: name of the table.
    :param n_train: number of frames that are fitted.
    :param n_test: number of frames that are kept aside.
    :param config: keys of the configuration of all fits.
    :param judged: keys of that of the fit that `pacemaker` judges, if it does.
    :param kappa: weight of the forces in the input of the example.
    :param iterations: of `pacemaker` from nothing.
    """

    file: str
    n_train: int
    n_test: int
    config: Mapping[str, Any] = field(default_factory=dict)
    judged: Mapping[str, Any] | None = None
    kappa: float = 0.0
    iterations: int = 0


EXAMPLES = {
    'Cu-I': Example(
        *('Cu_df1_A1_A2_A3_EV_elast_phon.pckl.gzip', 70, 35),
        judged={'max_deg': 4, 'max_order': 2},
        kappa=0.35,
        iterations=40,
    ),
    'Cu-II': Example('Cu_df2_1k.pkl.gzip', 150, 150),
    'Ethanol': Example(
        *('ethanol.pckl.gzip', 100, 200), judged={'max_deg': 2, 'max_order': 2}, kappa=0.95, iterations=5
    ),
    # 180 atoms of five elements each: one cutoff, and a small degree.
    'HEA': Example('HEA_randII_example.pckl.gzip', 12, 8, {'r_cut': CUTOFF, 'max_deg': 4, 'max_order': 2}),
}


def read(folder: Path, name: str, seed: int) -> tuple[Frames, Frames]:
    """Return the frames of an example that are fitted, and those that are kept aside."""
    example = EXAMPLES[name]
    with (folder / name / example.file).open('rb') as handle:
        frames, _ = read_dataset(handle, name, keys=LabelKeys(energy='energy_corrected'))
    order = np.random.default_rng(seed).permutation(len(frames))
    ends = example.n_train, example.n_train + example.n_test
    train, test = frames.select(np.sort(order[: ends[0]])), frames.select(np.sort(order[ends[0] : ends[1]]))
    nearest = shortest_distances(train, CUTOFF)
    inside = [much_closer(test.select(np.array([index])), nearest) for index in range(len(test))]
    if any(inside):
        print(
            f'{name}: {sum(inside)} of {len(test)} frames that were kept aside come much closer than what is fitted: '
            'left out'
        )
    return train, test.select(~np.array(inside))


def much_closer(frames: Frames, nearest: Mapping[tuple[str, str], float]) -> bool:
    """Return whether atoms come much closer than these shortest distances."""
    found = shortest_distances(frames, CUTOFF)
    return any(distance < CLOSER * nearest.get(pair, CUTOFF) for pair, distance in found.items())


def write(folder: Path, train: Frames, test: Frames) -> None:
    """Write the tables of a fit."""
    for name, frames in ((TRAIN, train), (TEST, test)):
        with (folder / name).open('wb') as handle:
            write_targets(frames, handle)


@contextmanager
def folder_of(train: Frames, test: Frames) -> Iterator[Path]:
    """Have a folder with the tables of fits; what a program said that failed there is the reason."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, train, test)
        try:
            yield folder
        except subprocess.CalledProcessError as problem:
            raise SystemExit((folder / 'output').read_text()[-2000:]) from problem


def atoms_of(frames: Frames) -> dict[str, int]:
    """Return how many atoms of each element there are."""
    from ase.data import chemical_symbols

    numbers, counts = np.unique(frames.numbers, return_counts=True)
    return {chemical_symbols[number]: int(count) for number, count in zip(numbers, counts, strict=True)}


def request_of(linear_fit: LinearFit) -> dict[str, Any]:
    """Return what the driver takes, in place of the defaults of the benchmark."""
    names = ('potential', 'degree', 'first', 'weighting', 'prior', 'penalty', 'repulsion', 'candidates')
    return {name: getattr(linear_fit, name) for name in names}


def row_of(path: Path) -> dict[str, float]:
    """Return the first row of a table of errors."""
    names, values = (line.split() for line in path.read_text().splitlines()[:2])
    return dict(zip(names, map(float, values), strict=True))


def bases(folder: Path, name: str, train: Frames) -> None:
    """Print the errors of both radial bases, and of what is chosen."""
    elements, atoms, common = list(train.elements), atoms_of(train), EXAMPLES[name].config
    open_config = {'elements': elements, **common}
    radial = {
        kind: {**open_config, 'r_cut': CUTOFF, 'potential': {'bonds': {'ALL': bond_of(CUTOFF, kind)}}}
        for kind in ('SBessel', 'ChebExpCos')
    }
    degree = linear_fit_of(parse_config(radial['SBessel']), atoms).degree
    auto = {'linear': {'basis': 'auto'}}
    cases = {
        **radial,
        'auto, radial': {**open_config, 'r_cut': CUTOFF, 'max_deg': degree, **auto},
        'auto': {**open_config, **auto},
    }
    if 'max_deg' in common:
        # Both choices are the same.
        del cases['auto, radial']
    for case, config in cases.items():
        options = request_of(linear_fit_of(parse_config(config), atoms))
        seconds, _ = fit(folder, [TRAIN], dict.fromkeys(elements, 0.0), test=[TEST], **options)
        errors = row_of(folder / 'test_metrics.txt')
        summary = json.loads((folder / 'linear_fit.json').read_text())
        chosen = next((one for one in (summary['tried'] or {}).get('bases', ()) if one['chosen']), None)
        basis = f'{case}, {CUTOFF:g} Å, degree {options["degree"]}' if chosen is None else case
        if chosen is not None:
            basis += f': {chosen["radbase"]}, {chosen["r_cut"]:g} Å, degree {chosen["degree"]}'
        held_out = summary['cross_validation']
        print(
            f'{name:9}{basis:52}{sum(summary["n_functions"].values()):6}'
            f'{1e3 * held_out["rmse_energy"]:9.2f}{1e3 * held_out["rmse_forces"]:9.1f}'
            f'{1e3 * errors["rmse_epa"]:9.2f}{1e3 * errors["rmse_f_comp"]:9.1f}{seconds:9.1f}',
            flush=True,
        )


def losses(folder: Path, document: Mapping[str, Any], initial: str | None) -> tuple[float, list[float]]:
    """Run `pacemaker`; return its processor seconds and the loss of each iteration."""
    (folder / 'input.yaml').write_text(yaml.safe_dump(dict(document)))
    (folder / 'metrics.txt').unlink(missing_ok=True)
    program = str(Path(sys.executable).with_name('pacemaker'))
    continued = [] if initial is None else ['-p', initial]
    seconds, _ = watched([program, *continued, '--no-predict', 'input.yaml'], folder)
    names, *rows = (line.split() for line in (folder / 'metrics.txt').read_text().splitlines())
    return seconds, [float(row[names.index('loss')]) for row in rows]


def judge(folder: Path, name: str, train: Frames) -> None:
    """Print the loss of an exact fit, what `pacemaker` says of it, and how far that one comes from nothing."""
    example = EXAMPLES[name]
    elements = list(train.elements)
    for kind in ('SBessel', 'ChebExpCos'):
        config = {
            'elements': elements,
            **(example.judged or {}),
            'potential': {'bonds': {'ALL': bond_of(CUTOFF, kind)}},
            'linear': {'prior': 'pacemaker', 'repulsion': 0.0},
            'fit': {'loss': {'kappa': example.kappa, 'L2_coeffs': PENALTY}},
        }
        options = request_of(linear_fit_of(parse_config(config)))
        exact_seconds, _ = fit(folder, [TRAIN], dict.fromkeys(elements, 0.0), test=[TEST], **options)
        exact = row_of(folder / 'metrics.txt')
        (folder / 'output_potential.yaml').rename(folder / 'exact.yaml')
        document = {
            'cutoff': CUTOFF,
            'seed': 1,
            'data': {'filename': TRAIN, 'reference_energy': dict.fromkeys(elements, 0.0)},
            'potential': 'exact.yaml',
            'fit': {
                'loss': {'kappa': example.kappa, 'L1_coeffs': 0, 'L2_coeffs': PENALTY},
                'optimizer': 'L-BFGS-B',
                'maxiter': 1,
                'options': {'maxls': 1},
                'trainable_parameters': 'func',
            },
            'backend': {'evaluator': 'pyace', 'parallel_mode': 'serial'},
        }
        _, judged = losses(folder, document, None)
        document['potential'] = {'filename': 'exact.yaml', 'reset': True}
        document['fit'] |= {'optimizer': 'BFGS', 'maxiter': example.iterations, 'options': {}}
        seconds, found = losses(folder, document, None)
        print(
            f'{name:9}{kind:12}{exact["nfuncs"]:5.0f}{exact["loss"]:16.9g}{exact_seconds:8.1f}'
            f'{judged[0] / exact["loss"] - 1:+12.1e}{min(judged) / judged[0] - 1:+12.1e}'
            f'{found[0] / exact["loss"]:14.4g}{min(found) / exact["loss"]:12.4g}{len(found) - 1:6}{seconds:8.0f}',
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='the folder `examples` of a clone of python-ace')
    parser.add_argument('--only', nargs='+', choices=EXAMPLES, default=list(EXAMPLES))
    parser.add_argument('--seed', type=int, default=0, help='of the frames that are drawn')
    parser.add_argument('--part', choices=('bases', 'pacemaker', 'both'), default='both')
    given = parser.parse_args(arguments)
    missing = [name for name in given.only if not (given.folder / name / EXAMPLES[name].file).is_file()]
    if missing:
        parser.error(
            f'{given.folder} has no {", ".join(missing)}: needed is the folder `examples` of a clone of python-ace, '
            '`git clone --depth 1 https://github.com/ICAMS/python-ace`'
        )
    if given.part != 'pacemaker':
        print(f'{"":67}cross-validation    frames kept aside')
        print(f'{"":61}{"K":>6}{"meV/at":>9}{"meV/Å":>9}{"meV/at":>9}{"meV/Å":>9}{"seconds":>9}')
        for name in given.only:
            train, test = read(given.folder, name, given.seed)
            with folder_of(train, test) as folder:
                bases(folder, name, train)
    if given.part != 'bases':
        print(f'\n{"":45}{"pacemaker of it":>29}{"pacemaker from nothing":>40}')
        head = f'{"K":>26}{"exact loss":>16}{"seconds":>8}{"loss":>12}{"search":>12}'
        print(f'{head}{"begins":>14}{"ends":>12}{"its":>6}{"seconds":>8}')
        for name in given.only:
            if EXAMPLES[name].judged is None:
                continue
            train, test = read(given.folder, name, given.seed)
            with folder_of(train, test) as folder:
                judge(folder, name, train)


if __name__ == '__main__':
    main()
