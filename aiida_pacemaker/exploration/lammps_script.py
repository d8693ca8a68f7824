"""What LAMMPS is given to explore with: one script for all runs, and the structure that each begins from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from aiida_pacemaker.baseline.lammps import to_lammps
from aiida_pacemaker.baseline.model import DeltaBaseline
from aiida_pacemaker.exploration.lammps_box import Box
from aiida_pacemaker.exploration.options import ExploreOptions, Reason
from aiida_pacemaker.exploration.velocities import thermal_velocities
from aiida_pacemaker.frames.random_states import FOR_DYNAMICS, random_state
from aiida_pacemaker.frames.table import FloatArray, Frames
from aiida_pacemaker.pace.unseen import Unseen

#: The largest number that the random numbers of LAMMPS begin with, less room for one more per segment.
MAX_SEED = 800_000_000
#: A cell that shrinks or grows by this factor in volume is taken as unphysical (collapsed or evaporated).
VOLUME_FACTOR = 3.0
BAR_PER_GPA = 1e4
#: What the script says of a run of constant pressure that exceeds it.
VOLUME_EXCEEDED = 'volume'
#: Files that a run leaves behind, by the ends of their names: a line for each check, the frames that it keeps, what it
#: went through before a gamma that is too high, and what LAMMPS says since the last check.
TRACE, KEPT, EDGE, LOG = 'trace', 'kept', 'edge', 'log'
#: What the trace says, after a check, of atoms with interactions that the data never had.
UNSEEN = 'unseen'
#: The steps since the last check, which only LAMMPS itself reads.
_PASSED = 'passed'


@dataclass(frozen=True)
class Segment:
    """Steps of a run through which temperature (K) and pressure (GPa) go in straight lines, from begin to end."""

    steps: tuple[int, int]
    temperatures: tuple[float, float]
    pressures: tuple[float, float] | None


def segments(options: ExploreOptions) -> list[Segment]:
    """Return a run in parts, which meet where the values of schedules are reached: at the check that is nearest to it.

    Only the last part may have a number of steps that `check_every` does not divide.
    """
    schedules = [options.temperatures if options.ensemble != 'nve' else options.temperatures[:1], options.pressures]
    corners = {0, options.n_steps}
    for values in schedules:
        for place in np.linspace(0, options.n_steps, len(values))[1:-1].tolist():
            corners.add(min(round(place / options.check_every) * options.check_every, options.n_steps))
    temperatures, pressures = schedules

    def ends(values: Sequence[float], begin: int, end: int) -> tuple[float, float]:
        first, second = np.interp(np.array([begin, end]) / options.n_steps, np.linspace(0, 1, len(values)), values)
        return float(first), float(second)

    return [
        Segment(pair, ends(temperatures, *pair), ends(pressures, *pair) if pressures else None)
        for pair in pairwise(sorted(corners))
    ]


def run_script(
    baseline: DeltaBaseline,
    elements: Sequence[str],
    options: ExploreOptions,
    *,
    potential_file: str,
    active_set_file: str,
    check_file: str,
    unseen: Unseen | None = None,
) -> str:
    """Return the script of every run. LAMMPS is told the rest by variables on its command line.

    They are `run`, the beginning of the names of all files of the run, `x`, `y` and `z`, the boundaries, and `seed`.
    The script itself moves from check to check, because LAMMPS could halt at a gamma that is too high by itself, but
    not look back at what came before.

    :param baseline: what was subtracted from the labels.
    :param elements: chemical symbol of each atom type, in order.
    :param options: what is asked for.
    :param potential_file: the B-basis of the potential.
    :param active_set_file: its active set.
    :param check_file: :func:`check_script`.
    :param unseen: interactions that the data never had. LAMMPS counts the atoms that have them by their neighbours,
        because its gamma says nothing of them.
    """
    return _text(
        [
            'units metal',
            'atom_style atomic',
            'atom_modify map yes',
            'boundary ${x} ${y} ${z}',
            'box tilt large',
            'read_data ${run}.data',
            *to_lammps(baseline, elements, potential_file, active_set_file).splitlines(),
            'neighbor 1.0 bin',
            'neigh_modify every 1 delay 0 check yes',
            f'timestep {options.timestep / 1000!r}',
            f'fix grade all pair {options.check_every} pace/extrapolation gamma 1',
            'compute largest all reduce max f_grade',
            'compute distance all pair/local dist',
            'compute nearest all reduce min c_distance inputs local',
            # As many degrees of freedom as there are coordinates.
            'compute hotness all temp',
            'compute_modify hotness extra/dof 0',
            *(_strangers(unseen, elements) if unseen else []),
            f'thermo_style custom step pe c_hotness c_largest c_nearest vol{" c_strangers" if unseen else ""}',
            'thermo 0',
            'variable reason string none',
            'variable kept equal 0',
            'variable last equal 0',
            'print "lammps $(version)" file ${run}.trace screen no',
            f'variable target equal {options.temperatures[0]!r}',
            'run 0 post no',
            'variable volume equal $(vol:%.17g)',
            f'include {check_file}',
            f'if "${{reason}} == {Reason.GAMMA_HIGH}" then "variable reason string {Reason.SEED_BEYOND}"',
            'if "${reason} != none" then "jump SELF ended"',
            *(
                line
                for number, segment in enumerate(segments(options))
                for line in _lines(number, segment, options, check_file)
            ),
            f'variable reason string {Reason.FINISHED}',
            'label ended',
            'variable steps equal $(step)',
            f'if "${{reason}} != {Reason.GAMMA_HIGH}" then "jump SELF done"',
            # What came since the last check is looked at step by step.
            'unfix move',
            *(['unfix heat'] if options.ensemble == 'nvt' else []),
            'unfix grade',
            'fix grade all pair 1 pace/extrapolation gamma 1',
            f'dump edge all custom 1 ${{run}}.{EDGE} id type xu yu zu f_grade',
            'dump_modify edge sort id format float %.17g',
            f'rerun ${{run}}.{_PASSED} dump x y z ix iy iz box yes',
            'label done',
            'print "end ${reason} $(v_steps:%.0f)" append ${run}.trace screen no',
        ]
    )


def check_script(options: ExploreOptions, *, unseen: bool = False) -> str:
    """Return what is done at each check: note what is seen, decide whether to go on, keep the frame if it is worth it.

    It is the second file of :func:`run_script`, for both the rules are those of the driver of ASE.

    :param options: what is asked for.
    :param unseen: whether there are interactions that the data never had, which end a run. A structure that begins with
        them is kept, as long as nothing else is wrong with it.
    """
    said = '$(step) $(c_largest:%.17g) $(c_hotness:%.17g) $(pe/atoms:%.17g) $(c_nearest:%.17g)'
    limits = [
        (f'$(c_largest:%.17g) > {options.gamma_high!r}', Reason.GAMMA_HIGH.value),
        (f'$(c_nearest:%.17g) < {options.min_distance!r}', Reason.TOO_CLOSE.value),
        (f'$(c_hotness:%.17g) > $({options.max_temperature_factor!r}*v_target:%.17g)', Reason.RUNAWAY.value),
    ]
    if unseen:
        limits.insert(1, ('$(c_strangers) > 0', Reason.GAMMA_HIGH.value))
    if options.ensemble == 'npt':
        limits += [
            (f'$(vol) > $({VOLUME_FACTOR!r}*v_volume)', VOLUME_EXCEEDED),
            (f'$(vol) < $(v_volume/{VOLUME_FACTOR!r})', VOLUME_EXCEEDED),
        ]
    worthy = f'${{reason}} == none && $(c_largest:%.17g) >= {options.gamma_low!r} && $(v_room) == 1'
    counted = '"variable kept equal $(v_kept+1)" "variable last equal $(step)"'
    write = 'write_dump all custom ${run}.kept id type xu yu zu f_grade modify sort id format float %.17g append'
    return _text(
        [
            # What LAMMPS said before is of no interest any more.
            'log ${run}.log',
            f'print "check {said}" append ${{run}}.{TRACE} screen no',
            ' '.join(
                f'{"elif" if index else "if"} "{condition}" {"" if index else "then "}"variable reason string {reason}"'
                for index, (condition, reason) in enumerate(limits)
            ),
            f'variable room equal (v_kept<{options.max_frames_per_run})&&((v_kept==0)||'
            f'(step-v_last>={options.spacing}))',
            f'if "{worthy} && $(v_kept) == 0" then "{write} no" {counted} elif "{worthy}" "{write} yes" {counted}',
            *(
                [
                    f'if "$(c_strangers) > 0" then "print \'{UNSEEN} $(c_strangers:%.0f)\' append ${{run}}.{TRACE} '
                    'screen no"',
                    f'if "$(c_strangers) > 0 && $(step) == 0 && $(c_largest:%.17g) <= {options.gamma_high!r} && '
                    f'$(c_nearest:%.17g) >= {options.min_distance!r}" then "{write} no" {counted}',
                ]
                if unseen
                else []
            ),
        ]
    )


def _strangers(unseen: Unseen, elements: Sequence[str]) -> list[str]:
    """Return the lines that have the atoms counted whose neighbours are of elements that the data never had there."""
    types = {symbol: number for number, symbol in enumerate(elements, start=1)}
    pairs = sorted({(centre, other) for centre, near in unseen.smallest for other in near})
    number_of = {pair: number for number, pair in enumerate(pairs, start=1)}
    terms = [
        '*'.join([f'(type=={types[centre]})', *(f'(c_near{number_of[centre, other]}>0)' for other in near)])
        for centre, near in unseen.smallest
    ]
    return [
        *(
            f'compute near{number} all coord/atom cutoff {unseen.cutoffs[pair]!r} {types[pair[1]]}'
            for pair, number in number_of.items()
        ),
        f'variable stranger atom {"+".join(terms)}',
        'compute strangers all reduce sum v_stranger',
    ]


def structure_file(frame: Frames, box: Box, elements: Sequence[str], velocities: FloatArray) -> str:
    """Return the structure that a run begins from, as LAMMPS reads it.

    :param frame: one frame of ``n`` atoms.
    :param box: its box.
    :param elements: chemical symbol of each atom type, in order.
    :param velocities: in angstrom/ps, as they are in the frame, shape (n, 3).
    """
    low, high = box.low, box.low + np.diag(box.vectors)
    types = {symbol: number for number, symbol in enumerate(elements, start=1)}
    tilts = (box.vectors[1, 0], box.vectors[2, 0], box.vectors[2, 1])
    atoms = zip(frame.numbers.tolist(), box.into(frame.positions).tolist(), strict=True)
    return _text(
        [
            'One structure to explore from',
            '',
            f'{len(frame.numbers)} atoms',
            f'{len(elements)} atom types',
            *(f'{low[axis]:.17g} {high[axis]:.17g} {name}lo {name}hi' for axis, name in enumerate('xyz')),
            f'{" ".join(format(tilt, ".17g") for tilt in tilts)} xy xz yz',
            '',
            'Masses',
            '',
            *(f'{number} {float(atomic_masses[atomic_numbers[symbol]])!r}' for symbol, number in types.items()),
            '',
            'Atoms # atomic',
            '',
            *(
                f'{index} {types[chemical_symbols[number]]} {_vector(position)}'
                for index, (number, position) in enumerate(atoms, start=1)
            ),
            '',
            'Velocities',
            '',
            *(f'{index} {_vector(row)}' for index, row in enumerate(box.into(velocities).tolist(), start=1)),
        ]
    )


def random_numbers(frame: Frames, temperature: float, seed: int, position: int, copy: int) -> tuple[FloatArray, int]:
    """Return the initial velocities of a run in angstrom/ps, shape (n, 3), and what its thermostat begins with.

    The velocities are those that the driver of ASE gives, of the distribution of Maxwell and Boltzmann without motion
    of the whole.

    :param frame: one frame of ``n`` atoms.
    :param temperature: in K.
    :param seed: of all random numbers.
    :param position: that of the structure among the initial structures.
    :param copy: which of its copies this is.
    """
    random = random_state(seed, position, copy, FOR_DYNAMICS)
    velocities = thermal_velocities(atomic_masses[frame.numbers], units.kB * temperature, random)
    return velocities * (1000 * units.fs), int(random.randint(1, MAX_SEED))


def _lines(number: int, segment: Segment, options: ExploreOptions, check_file: str) -> list[str]:
    """Return the lines of one segment."""
    begin, end = segment.steps
    (hot, hotter), span = segment.temperatures, end - begin
    blocks, rest = divmod(span, options.check_every)
    target = repr(hot) if hot == hotter else f'{hot!r}+({hotter!r}-{hot!r})*(step-{begin})/{span}'
    lines = [f'variable target equal {target}', *_ensemble(number, segment, options)]
    until = f'start {begin} stop {end} post no'
    if blocks:
        lines += [
            f'variable block{number} loop {blocks}',
            f'label segment{number}',
            *_block(f'run {options.check_every} {until}', check_file),
            f'next block{number}',
            f'jump SELF segment{number}',
        ]
    if rest:
        # Gamma of the very last step, whose number no check before it divides.
        lines += [
            'unfix grade',
            f'fix grade all pair {options.n_steps} pace/extrapolation gamma 1',
            *_block(f'run {rest} {until}', check_file),
        ]
    return lines


def _block(run: str, check_file: str) -> list[str]:
    return [
        f'dump passed all custom 1 ${{run}}.{_PASSED} id type x y z ix iy iz',
        'dump_modify passed sort id format float %.17g',
        run,
        'undump passed',
        f'include {check_file}',
        'if "${reason} != none" then "jump SELF ended"',
    ]


def _ensemble(number: int, segment: Segment, options: ExploreOptions) -> list[str]:
    """Return the fixes that move the atoms; those of the segment before are replaced."""
    temperatures = ' '.join(map(repr, segment.temperatures))
    if options.ensemble == 'nve':
        return ['fix move all nve']
    if options.ensemble == 'nvt':
        damping = 1 / (1000 * options.friction)
        return ['fix move all nve', f'fix heat all langevin {temperatures} {damping!r} $(v_seed+{number}:%.0f)']
    pressures = ' '.join(repr(pressure * BAR_PER_GPA) for pressure in segment.pressures or ())
    times = options.thermostat_time / 1000, options.barostat_time / 1000
    return [f'fix move all npt temp {temperatures} {times[0]!r} iso {pressures} {times[1]!r} flip no']


def _vector(values: Sequence[float]) -> str:
    return ' '.join(format(value, '.17g') for value in values)


def _text(lines: Sequence[str]) -> str:
    return ''.join(f'{line}\n' for line in lines)
