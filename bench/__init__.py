"""The bench: from a text to a report, one module a stage (docs/architecture.md)."""
