"""The choice of a tracker by name; never another one than was asked for."""

from pathlib import Path

from motionmatcher.errors import UserError
from motionmatcher.tracking.tracks import Tracker

# Matrices of all pairs of two videos' tracks, in float64, that motion_metrics holds at once.
_PAIR_MATRICES = 4


def load_tracker(
    name: str, grid_size: int, device: str, checkpoint: Path | None, folder: Path
) -> Tracker:
    """Load a tracker.

    Args:
        name: "cotracker" or "flow".
        grid_size: Points per side.
        device: Where CoTracker computes; the flow is computed on the CPU.
        checkpoint: CoTracker's; None looks for one in `folder`.
        folder: See there.

    Raises:
        UserError: CoTracker was asked for and it or its checkpoint is missing, or so many tracks cannot
            be compared here.
    """
    _check_memory(grid_size)
    if name == "flow":
        from motionmatcher.tracking.flow_tracker import FlowTracker

        return FlowTracker(grid_size)
    from evaluation.cotracker import CoTracker, find_checkpoint

    return CoTracker(find_checkpoint(checkpoint, folder), grid_size, device)


def _check_memory(grid_size: int) -> None:
    import torch

    from motionmatcher.devices import available_bytes, show_gib

    num_tracks = grid_size**2
    needed, free = _PAIR_MATRICES * 8 * num_tracks**2, available_bytes(torch.device("cpu"))
    if needed > free:
        most = int((free / (_PAIR_MATRICES * 8)) ** 0.25)
        raise UserError(
            f"--grid_size {grid_size}: comparing all pairs of {num_tracks:,} tracks takes "
            f"{show_gib(needed)}, and {show_gib(free)} are free: take {most} or less."
        )
