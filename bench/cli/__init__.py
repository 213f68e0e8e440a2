"""Turn a command line into runs."""
