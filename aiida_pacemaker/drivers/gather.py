"""Take the candidates of a selection from tables that are here already, with the Python of the engine.

Reads the file that it is told: `tables`, for each the rows of it that are wanted; `order`, for each candidate its place
among all that are taken; and `result`, the table of their structures and names.
"""

import gzip
import json
import pickle
import sys

from tables import TableReader


def gather(tables, order):
    """Return the columns of the rows that are wanted, one table in memory at a time."""
    structures, names = [], []
    for path, rows in tables.items():
        with gzip.open(path) as handle:
            table = TableReader(handle).load()
        structures += [table['ase_atoms'][row] for row in rows]
        names += [table['name'][row] for row in rows]
    return {'ase_atoms': [structures[place] for place in order], 'name': [names[place] for place in order]}


def write_table(path, columns):
    """Write a table as pandas reads it, which takes seconds to import and is not needed for it.

    The third version of pickles has no frames, so that what is written here can be put around the columns: a call of
    `pandas.DataFrame` with them.
    """
    content = pickle.dumps(columns, protocol=3)[2:-1]
    with gzip.open(path, 'wb', compresslevel=1) as handle:
        handle.write(pickle.PROTO + b'\x03' + pickle.GLOBAL + b'pandas\nDataFrame\n')
        handle.write(content + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP)


def main():
    """Write the table of the candidates."""
    with open(sys.argv[1]) as handle:
        request = json.load(handle)
    columns = gather(request['tables'], request['order'])
    write_table(request['result'], columns)
    print(len(columns['name']), 'structures', flush=True)


if __name__ == '__main__':
    main()
