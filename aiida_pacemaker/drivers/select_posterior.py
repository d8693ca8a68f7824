"""Choose the candidates that are worth a label by the posterior of a linear fit, with the Python of the engine.

Reads `select.json`: the potential, its posterior, the tables of candidates, and how many are chosen at most. Writes
`selection.npz`, the positions of the chosen ones among all candidates and what each is worth, and at the very end
`selection.json`, so that its presence says that the other is complete.

Of the rows, those of the first candidates are kept, up to a number of bytes; the others are made again when they are
needed, so that of these one structure is in memory at a time, and one table.
"""

import json
import time

import numpy as np
import pyace
from gather import gather
from handedness import right_handed
from linear.rows import RowMaker
from linear.selecting import choose, factor_of
from linear.uncertainty import Posterior, fitted_basis
from linear.weighting import Physical
from summary import versions_with, write_summary
from tables import read_table

#: Bytes of rows that are kept.
KEPT = 256 * 1024**2


class Candidates:
    """The structures of tables by their positions, those of one table in memory at a time.

    :param tables: their names; or, of rows of tables, what :func:`gather.gather` takes.
    """

    def __init__(self, tables):
        self.tables = tables
        self.number = None
        self.structures = ()
        self.ends = np.cumsum([len(self.table(number)) for number in range(len(tables))])

    def __len__(self):
        return int(self.ends[-1]) if len(self.ends) else 0

    def table(self, number):
        """Return the structures of a table."""
        if self.number != number:
            table = self.tables[number]
            columns = read_table(table) if isinstance(table, str) else gather(**table)
            self.number, self.structures = number, tuple(columns['ase_atoms'])
        return self.structures

    def __getitem__(self, position):
        number = int(np.searchsorted(self.ends, position, side='right'))
        # Counted from the end of the table.
        return right_handed(self.table(number)[position - int(self.ends[number])])


def rows_with(maker, precisions, candidates):
    """Return a function of the rows of a candidate, each over the noise of its kind.

    Their energies are not known: the weight is 1, that of the lowest energy. Virials count where the fit has them.
    """
    worth = dict(zip(('energy', 'forces', 'virial'), precisions))
    kept: dict[int, np.ndarray] = {}
    left = KEPT

    def rows_of(position):
        nonlocal left
        if position in kept:
            return kept[position]
        atoms = candidates[position]
        terms = maker.terms_of(atoms, virial=worth['virial'] > 0 and bool(atoms.pbc.all()))
        found = np.concatenate([worth[kind] * rows for kind, rows in terms.rows.items()])
        if found.nbytes <= left:
            kept[position] = found
            left -= found.nbytes
        return found

    return rows_of


def main():
    """Choose structures."""
    start = time.time()
    with open('select.json') as handle:
        request = json.load(handle)
    posterior = Posterior.load(request['posterior'])
    with np.load(request['posterior'], allow_pickle=False) as content:
        precisions = content['precisions'].tolist()
    basis = fitted_basis(pyace.BBasisConfiguration(request['potential']), posterior)
    candidates = Candidates(request['candidates'])
    rows_of = rows_with(RowMaker(basis, Physical()), precisions, candidates)
    print(f'{len(candidates)} candidates, {basis.n_functions} functions', flush=True)
    factor = factor_of(rows_of, len(candidates), basis.n_functions)
    most = len(candidates) if request['max_structures'] is None else request['max_structures']
    # Rows are over the noise already.
    chosen = choose(rows_of, np.ones(len(candidates)), posterior, 1.0, most, factor)
    np.savez(
        'selection.npz',
        positions=np.array([one.position for one in chosen], dtype=np.int64),
        gains=np.array([one.gain for one in chosen], dtype=np.float64),
    )
    write_summary(
        'selection.json',
        start,
        versions_with(pyace=pyace.__version__),
        n_candidates=len(candidates),
    )


if __name__ == '__main__':
    main()
