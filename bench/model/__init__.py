"""Build the shared language model around a backbone, at the width that a budget allows."""
