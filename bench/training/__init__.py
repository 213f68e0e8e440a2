"""Train one model: objectives, optimizers, precision, distribution, checkpoints."""
