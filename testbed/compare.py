"""Moved to `experiments.compare`."""

from motionmatcher.command_line import moved

if __name__ == "__main__":
    moved("experiments.compare")
