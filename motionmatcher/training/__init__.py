"""Training: checks before it, the loop, checkpoints, previews, resuming."""
