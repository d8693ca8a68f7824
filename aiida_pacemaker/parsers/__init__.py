"""Parsers, one per calculation job: glue over `aiida_pacemaker.engine`."""
