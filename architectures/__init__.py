"""Define the models. Each maps (B, T, D) to (B, T, D) behind one interface."""
