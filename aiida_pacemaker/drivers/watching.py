"""Watching a run: what is looked at, what is kept of it, and when it has to end. Put beside the driver of runs."""

import numpy as np
from ase.neighborlist import neighbor_list
from keeping import Keeping
from near_elements import NearElements

#: In angstrom: where the shortest distance is looked for, one after the other.
SEARCHES = (3.0, 6.0, 12.0)


class Watch:
    """Keeps the frames of one run whose extrapolation grade is worth a label.

    :param grade: returns gamma of each atom of a structure.
    :param options: the options of the run, as plain data.
    :param seek: returns which atoms of a structure have interactions that the data never had: for them gamma of the
        active set says nothing, and counts as infinite. None if there are none to look for.
    """

    def __init__(self, grade, options, seek=None):
        self.grade = grade
        self.seek = seek
        self.options = options
        self.rule = Keeping(*(options[name] for name in ('gamma_low', 'gamma_high', 'max_frames_per_run', 'spacing')))
        self.trace = []
        self.kept = []
        self.passed = []  # Frames at the last check and since then: see `remember`.

    def check(self, step, atoms, temperature):
        """Look at gamma, distances and temperature, keep the frame if it is worth it, and return why to stop, or None.

        :param temperature: what the temperature should be in K.
        :raises ValueError: if gamma is not a number.
        """
        gamma, unseen = self.grade(atoms), self.unseen(atoms)
        distance, actual = shortest_distance(atoms), atoms.get_temperature()
        energy = atoms.get_potential_energy() / len(atoms)
        if not np.isfinite([*gamma, actual, energy]).all():
            raise ValueError('gamma, temperature or energy is not a number')
        gamma = np.where(unseen, np.inf, gamma)
        largest = float(gamma.max())
        self.trace.append((step, largest, actual, energy, distance))
        if largest > self.options['gamma_high']:
            if unseen.any():
                # Worth a label itself, unlike one whose gamma is merely too high.
                self.remember(step, atoms)
            self.look_back(atoms)
            return 'gamma_high' if step else 'seed_beyond_gamma_high'
        if distance < self.options['min_distance']:
            return 'atoms_too_close'
        if actual > self.options['max_temperature_factor'] * temperature:
            return 'temperature_runaway'
        if largest >= self.options['gamma_low'] and self.rule.has_room(self.kept_steps(), step):
            self.kept.append((*frame_of(step, atoms), gamma))
        self.passed = []
        self.remember(step, atoms)
        return None

    def remember(self, step, atoms):
        """Note the frame of a step, to which the run may have to go back."""
        self.passed.append(frame_of(step, atoms))

    def look_back(self, atoms):
        """Keep the latest frame since the last check whose gamma is worth a label but not too high.

        It is at the edge of what the potential knows, so it comes in place of the last frame kept if there is no room.
        """
        past, graded = atoms.copy(), {}

        def is_wanted(position):
            _, positions, cell, energy, forces = self.passed[position]
            if not (np.isfinite(energy) and np.isfinite(forces).all()):
                return False
            past.set_cell(cell)
            past.set_positions(positions)
            if shortest_distance(past) < self.options['min_distance']:
                return False
            gamma, unseen = self.grade(past), self.unseen(past)
            graded[position] = np.where(unseen, np.inf, gamma)
            return self.rule.is_worthy(gamma.max(), unseen.any())

        found = self.rule.edge(self.kept_steps(), [frame[0] for frame in self.passed], is_wanted)
        if found is not None:
            position, stay = found
            self.kept[stay:] = [(*self.passed[position], graded[position])]

    def kept_steps(self):
        """Return the steps of the frames that are kept."""
        return [frame[0] for frame in self.kept]

    def unseen(self, atoms):
        """Return which atoms have interactions that the data never had."""
        return np.zeros(len(atoms), dtype=bool) if self.seek is None else self.seek(atoms)

    def arrays(self, n_atoms):
        """Return the checks and the kept frames as arrays."""
        trace = np.array(self.trace, dtype=float).reshape(-1, 5)
        steps, positions, cells, energies, forces, gamma = (
            [frame[column] for frame in self.kept] for column in range(6)
        )
        return {
            'step': trace[:, 0].astype(np.int64),
            'gamma_max': trace[:, 1],
            'temperature': trace[:, 2],
            'energy': trace[:, 3],
            'min_distance': trace[:, 4],
            'kept_step': np.array(steps, dtype=np.int64),
            'positions': np.array(positions, dtype=float).reshape(len(steps) * n_atoms, 3),
            'cells': np.array(cells, dtype=float).reshape(len(steps), 3, 3),
            'energies': np.array(energies, dtype=float),
            'forces': np.array(forces, dtype=float).reshape(len(steps) * n_atoms, 3),
            'gamma': np.array(gamma, dtype=float).reshape(len(steps) * n_atoms),
        }


def make_seeker(unseen):
    """Return a function that tells which atoms have interactions that the data never had; None if there are none.

    :param unseen: the cutoffs, and what a central atom needs as neighbours, by atomic numbers; None if nothing is.
    """
    if unseen is None:
        return None
    rule = NearElements(unseen['cutoffs'])

    def seek(atoms):
        first, second, distance = neighbor_list('ijd', atoms, rule.largest)
        near = rule.nothing(len(atoms))
        rule.note(near, atoms.numbers, first, second, distance)
        found = [rule.having(near, atoms.numbers, centre, neighbours) for centre, neighbours in unseen['blocks']]
        return np.any(found, axis=0)

    return seek


def frame_of(step, atoms):
    """Return step, positions, cell, energy and forces of a frame; the dynamics has calculated both by now."""
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    return step, atoms.positions.copy(), np.array(atoms.cell[:]), energy, forces


def shortest_distance(atoms):
    """Return the shortest distance between two atoms in angstrom; infinite if it is longer than 12 angstrom."""
    for radius in SEARCHES:
        distances = neighbor_list('d', atoms, radius)
        if len(distances):
            return float(distances.min())
    return float('inf')
