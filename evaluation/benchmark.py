"""Moved to `experiments.paper_table`."""

from motionmatcher.command_line import moved

if __name__ == "__main__":
    moved("experiments.paper_table")
