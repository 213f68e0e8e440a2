"""Train further what was pre-trained: fine-tuning, and learning from preferences."""
