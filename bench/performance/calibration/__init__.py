"""Check the measurements against models of known cost."""
