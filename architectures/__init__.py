"""The models. They know nothing of the bench: each maps (B, T, D) to (B, T, D) behind one interface."""
