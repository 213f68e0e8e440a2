"""Use the operating system: atomic files, locks, processes, signals, host state, GPUs."""
