"""Compute intervals, pairwise tests and scaling-law fits: arrays in, numbers out, no I/O."""
