"""Sources of labelled examples: a module each, found by its class."""
