"""The paper's table: train, generate and score the motions of several configs."""
