"""Read documents from files, from a hub, or from the documentation of Python."""
