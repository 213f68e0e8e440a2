"""Use what the operating system gives: atomic files, locks, processes, signals, the state of the host, GPUs."""
