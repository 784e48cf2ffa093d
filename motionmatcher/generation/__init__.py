"""Videos for prompts with a trained run."""
