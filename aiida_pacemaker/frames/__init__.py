"""What a set of structures is: columns, checks, content hashes, shards, import and export. Plain Python, no AiiDA."""
