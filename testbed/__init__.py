"""Moving Shapes: a small text-to-video base with its data, recipe and ground truth."""
