"""Settings: each key once with its range, unit and meaning; how YAML becomes them."""
