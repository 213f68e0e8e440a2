"""Learn from preferences: rewards, annotators, reward models and policies."""
