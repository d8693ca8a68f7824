"""Parsers, one per calculation job: glue over the readers of `pace`, `exploration` and `drivers`."""
