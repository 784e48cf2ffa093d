"""What trains and scores: the paper's table, the comparison of objectives, the demo."""
