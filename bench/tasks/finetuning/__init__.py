"""Fine-tune a model for a task: examples, batches, heads, scores, baselines."""
