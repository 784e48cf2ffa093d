"""The comparison of motion customisation methods, by the renderer's ground truth."""
