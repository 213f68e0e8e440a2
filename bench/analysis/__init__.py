"""Turn records into comparable numbers: no HTML, no plotting."""
