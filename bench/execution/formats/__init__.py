"""The formats: a module each, with a function `export`; its name is what `to=` takes."""
