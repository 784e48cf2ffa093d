"""Figures that the project claims for its speed and memory, and the programs that measure them."""
