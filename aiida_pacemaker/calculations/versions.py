"""What tells the jobs of two versions of this package apart, where AiiDA and the caches of computers do not."""

#: Raised whenever equal inputs give another result: the baseline is code, and so are the tables that the engine reads,
#: the drivers and the parsers. AiiDA leaves the version of the package out of what it compares of two jobs, and would
#: take the old result from its cache; so would a job that finds an old table on its computer.
CACHE_VERSION = 3
