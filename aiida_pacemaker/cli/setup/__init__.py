"""Setting up: profile, computer, engine and codes."""
