"""The fake `pacemaker`: the command line of the real one, a fit that is fast and makes no sense beyond its data."""

from __future__ import annotations

import argparse
import getpass
import importlib
import json
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from aiida_pacemaker.testing.fake.basis import Potential, build, load
from aiida_pacemaker.testing.fake.dataset import Loader
from aiida_pacemaker.testing.fake.fitting import Fit
from aiida_pacemaker.testing.fake.physics import coefficients, set_coefficients
from aiida_pacemaker.testing.fake.problem import Problem
from aiida_pacemaker.testing.fake.reporting import (
    EVALUATOR_VERSION,
    TENSORPOT_VERSION,
    VERSION,
    Tables,
    log,
    now,
    size_of,
    start_log,
)
from aiida_pacemaker.testing.fake.settings import FitSettings, seed_of
from aiida_pacemaker.testing.fake.tables import Labelled, write_fitting_data, write_predictions
from aiida_pacemaker.testing.faults import Fault, current

_CLEANED = ('*metrics.txt', '*_info.pckl.gzip', '*_pred.pckl.gzip', 'log.txt', '*_potential*.yaml', '*.png')

_PLOTS = ('E-dE-dist', 'E-dE-nn', 'EF-pairplots', 'F-dF-dist', 'Fi-dFi-dist')


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(prog='pacemaker', description='Fake fitting program: see aiida_pacemaker.testing.')
    result.add_argument('input', nargs='?', default='input.yaml', help='input file')
    result.add_argument('-c', '--clean', action='store_true', help='remove what earlier runs left')
    result.add_argument('-o', '--output', default='output_potential.yaml', help='final potential')
    result.add_argument('-p', '--potential', help='potential to continue from')
    result.add_argument('-ip', '--initial-potential', help='potential to extend')
    result.add_argument('-d', '--data', help='data file, in place of the section `data`')
    result.add_argument('-l', '--log', default='log.txt', help='log file')
    result.add_argument('-dr', '--dry-run', action='store_true', help='stop before the fit')
    result.add_argument('-t', '--template', action='store_true', help='not there in the fake program')
    result.add_argument('-v', '--version', action='store_true', help='print versions')
    result.add_argument('--no-fit', action='store_true', help='do not fit')
    result.add_argument('--no-predict', action='store_true', help='do not predict and plot')
    result.add_argument('--verbose-tf', action='store_true', help='of no effect')
    return result


def main() -> None:
    """Run the program."""
    command = parser()
    arguments = command.parse_args()
    if arguments.template:
        command.error('the fake program has no dialog for templates')
    if arguments.version:
        print(f'pacemaker/pyace version: {VERSION}\nace_evaluator   version: {EVALUATOR_VERSION}')
        return
    if arguments.clean:
        for path in (path for pattern in _CLEANED for path in Path().glob(pattern)):
            path.unlink()
        return
    start_log(Path(arguments.log))
    log.info('Start pacemaker')
    log.info('Hostname: %s', socket.gethostname())
    log.info('Username: %s', getpass.getuser())
    log.info('pacemaker/pyace version: %s', VERSION)
    log.info('ace_evaluator   version: %s', EVALUATOR_VERSION)
    log.info('Loading %s... ', arguments.input)
    fault = current('pacemaker')
    fault.begin()
    document = yaml.safe_load(Path(arguments.input).read_text())
    if not isinstance(document, dict):
        raise AssertionError
    _run(arguments, document, fault)


def _run(arguments: argparse.Namespace, document: Mapping[str, Any], fault: Fault) -> None:
    data, backend, potential = _sections(arguments, document)
    settings = FitSettings.from_input(document.get('fit', {}), backend, seed_of(document))
    target, initial = _potentials(potential, ladder=bool(settings.ladder))
    log.info('Cutoff for neighbour lists construction is deduced from the potential: %.3f A', target.cutoff)
    versions = {'ace_evaluator_version': EVALUATOR_VERSION, 'pacemaker_version': VERSION}
    versions |= {'tensorpot_version': TENSORPOT_VERSION} if settings.tensorpot else {'pyace_version': VERSION}
    for name, version in versions.items():
        log.info('%s: %s', name, version)
    Path('target_potential.yaml').write_text(target.dump())
    tables = Tables(Path(), ladder=bool(settings.ladder))
    loader = Loader(data, target, drops=settings.tensorpot)
    train, test = _load(loader)
    started = {**versions, 'starttime': now(), 'user': getpass.getuser()}
    if loader.reference_energy is not None:
        log.info("Saving 'reference_energy' to potential metadata")
        started['reference_energy'] = json.dumps(loader.reference_energy)
    for member in (target, initial):
        if member is not None:
            member.metadata |= started
    Path('target_potential.yaml').write_text(target.dump())
    if arguments.dry_run:
        log.info('Dry run is finished')
        return
    final = target if initial is None else initial
    if not arguments.no_fit:
        log.info('Fitting dataset size: %d structures / %d atoms', len(train), len(train.forces))
        if test is not None:
            log.info('Test dataset size: %d structures / %d atoms', len(test), len(test.forces))
        callbacks = [_imported(name) for name in document.get('fit', {}).get('callbacks', [])]
        final = Fit(target, initial, train, test, settings, tables, fault, callbacks).run()
        Path(arguments.output).write_text(final.dump())
        fault.truncate('truncated_potential', Path(arguments.output))
        log.info('Final potential is saved to %s', arguments.output)
    if not arguments.no_predict:
        _predict(final, settings, {'train': train, 'test': test})


def _sections(arguments: argparse.Namespace, document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Return the sections `data`, `backend` and `potential`, as arguments overlay them."""
    if arguments.data is not None:
        data: Any = {'filename': arguments.data}
    elif 'data' in document:
        data = document['data']
        data = {'filename': data} if isinstance(data, str) else data
    else:
        raise ValueError("'data' section is not provided neither in input file nor in arguments")
    # Where these sections are missing, the engine trips over an option of its past, and so does this program.
    backend = document['backend'] if 'backend' in document else arguments.query_data  # noqa: SIM401 - asked only then
    if arguments.potential is not None:
        log.info('Potential settings is overwritten from arguments: %s', arguments.potential)
        potential: Any = arguments.potential
    else:
        potential = document['potential'] if 'potential' in document else arguments.query_data  # noqa: SIM401
    if arguments.initial_potential is not None:
        if not isinstance(potential, dict):
            raise ValueError("Couldn't combine `initial_potential` setting with non-dictionary `potential` setting")
        potential = {**potential, 'initial_potential': arguments.initial_potential}
    return data, backend, potential


def _potentials(section: Any, *, ladder: bool) -> tuple[Potential, Potential | None]:
    """Return the potential of the full size, and the one to begin from."""
    if isinstance(section, str):
        potential = load(Path(section))
        # A ladder does not continue in this way: it begins with no function at all.
        return potential, None if ladder else potential.copy()
    if 'filename' in section:
        potential = load(Path(section['filename']))
        if section.get('reset'):
            set_coefficients(potential, 0 * coefficients(potential))
        return potential, None
    target = build(section)
    log.info('Target potential shape constructed from dictionary, it contains %d functions', target.count())
    names = section.get('initial_potential')
    if names is None:
        return target, None
    first, *others = [load(Path(name)) for name in ([names] if isinstance(names, str) else names)]
    first.blocks += [block for other in others for block in other.blocks]
    return target, first


def _load(loader: Loader) -> tuple[Labelled, Labelled | None]:
    """Read training and test set, and leave them for `pace_activeset`."""
    train = loader.load('filename')
    if train is None:
        raise ValueError("'data' section has no `filename`")
    test = loader.load('test_filename')
    if test is None:
        train, test = loader.split(train)
    for name, data in (('fitting_data_info.pckl.gzip', train), ('test_data_info.pckl.gzip', test)):
        if data is not None:
            write_fitting_data(Path(name), data)
            log.info('Dataset saved into %s', name)
    for prefix, data in (('train', train), ('test', test)):
        if data is not None:
            log.info('Plotting %s energy-forces distribution', prefix)
            Path(f'{prefix}_ef-distributions.png').write_bytes(_picture())
    return train, test


def _imported(name: str) -> Callable[..., None]:
    """Import a function by its full name."""
    module, _, function = name.rpartition('.')
    callback: Callable[..., None] = getattr(importlib.import_module(module), function)
    log.info('%s callback added', callback)
    return callback


def _predict(potential: Potential, settings: FitSettings, sets: Mapping[str, Labelled | None]) -> None:
    """Write predictions and plots of all sets of frames."""
    log.info('Making predictions')
    folder = Path('report')
    folder.mkdir(exist_ok=True)
    for prefix, data in sets.items():
        if data is None:
            continue
        path = Path(f'{prefix}_pred.pckl.gzip')
        energy, forces = Problem(data, potential, settings).predict(coefficients(potential))
        write_predictions(path, data, energy, forces)
        log.info('Predictions are saved into %s (%s)', path, size_of(path))
        for plot in _PLOTS:
            (folder / f'{prefix}_{plot}.png').write_bytes(_picture())


def _picture() -> bytes:
    """Return a picture of one grey pixel (PNG, W3C recommendation, section 11.2)."""
    chunks = (
        (b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)),
        (b'IDAT', zlib.compress(b'\0\x7f')),
        (b'IEND', b''),
    )
    parts = [
        struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


if __name__ == '__main__':
    main()
