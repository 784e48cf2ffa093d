"""Motion packs: one folder of a run for others to use, with a model card."""
