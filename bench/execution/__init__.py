"""Execute runs in processes of their own, each ending in its record."""
