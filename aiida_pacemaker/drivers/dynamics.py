"""Molecular dynamics as it is asked for by plain options: put beside the drivers that move atoms."""

import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from velocities import thermal_velocities

#: A cell that shrinks or grows by this factor in volume is taken as unphysical (collapsed or evaporated).
VOLUME_FACTOR = 3.0


def scheduled(values, step, n_steps):
    """Return where a list of values is at a step, in straight lines over the run."""
    return float(np.interp(step / n_steps, np.linspace(0, 1, len(values)), values))


def give_velocities(atoms, temperature, random):
    """Draw velocities from the Maxwell-Boltzmann distribution, with zero total momentum."""
    atoms.set_velocities(thermal_velocities(atoms.get_masses(), units.kB * temperature, random))


def make_dynamics(atoms, options, random):
    """Return the dynamics of ASE for an ensemble."""
    timestep, temperature = options['timestep'] * units.fs, options['temperatures'][0]
    if options['ensemble'] == 'nve':
        return VelocityVerlet(atoms, timestep)
    if options['ensemble'] == 'nvt':
        friction = options['friction'] / units.fs
        return Langevin(atoms, timestep, temperature_K=temperature, friction=friction, fixcm=False, rng=random)
    return NPTBerendsen(
        atoms,
        timestep,
        temperature_K=temperature,
        pressure_au=options['pressures'][0] * units.GPa,
        taut=options['thermostat_time'] * units.fs,
        taup=options['barostat_time'] * units.fs,
        compressibility_au=options['compressibility'] / units.GPa,
    )


def set_conditions(dynamics, options, step):
    """Set temperature and pressure to what they should be at a step."""
    if len(options['temperatures']) > 1:
        dynamics.set_temperature(temperature_K=scheduled(options['temperatures'], step, options['n_steps']))
    if len(options['pressures']) > 1:
        # Not by its setter, which has had mistakes.
        dynamics.pressure = scheduled(options['pressures'], step, options['n_steps']) * units.GPa


def check_sanity(atoms, volume):
    """Raise where going on would take all memory, or the process with it.

    :param volume: that of the cell at the beginning; zero without a cell.
    :raises ArithmeticError: if positions or cell are not finite, or if the cell has collapsed or exploded.
    """
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell[:]).all()):
        raise ArithmeticError('positions or cell are no longer finite')
    if volume and not volume / VOLUME_FACTOR < abs(np.linalg.det(atoms.cell[:])) < volume * VOLUME_FACTOR:
        raise ArithmeticError(f'the volume of the cell has changed by more than a factor of {VOLUME_FACTOR:g}')
