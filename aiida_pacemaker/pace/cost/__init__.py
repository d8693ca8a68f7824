"""How large a basis is, and how much memory the programs will need."""
