"""A window in the browser that drives the project's own programs and reads their folders."""
