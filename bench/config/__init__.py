"""Define a run: its configuration, its identity and the errors that a user can correct."""
