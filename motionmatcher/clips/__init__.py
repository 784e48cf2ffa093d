"""Clips: files to frames and back, contact sheets, and the reference as the model needs it."""
