"""The protocols, one YAML file per work chain."""
