"""Base models: what their folders hold, their parts, and low-rank adapters on them."""
