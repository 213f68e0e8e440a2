"""State what a run is: its fields, their types and ranges, its identity, and the errors of a user."""
