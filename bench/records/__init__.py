"""Write, validate, load and select the records of runs and measurements."""
