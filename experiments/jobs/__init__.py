"""Jobs that can be stopped at any time: run what is missing, here, by programs or by workers."""
