"""Reading and writing the gzip-pickled tables of the engine; nothing in a pickle is run."""
