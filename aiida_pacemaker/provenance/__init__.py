"""Questions to the provenance graph."""
