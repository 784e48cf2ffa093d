"""The choice of a tracker by name; never another one than was asked for."""

from pathlib import Path

from evaluation.tracks import Tracker


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
        UserError: CoTracker was asked for and it or its checkpoint is missing.
    """
    if name == "flow":
        from evaluation.flow_tracker import FlowTracker

        return FlowTracker(grid_size)
    from evaluation.cotracker import CoTracker, find_checkpoint

    return CoTracker(find_checkpoint(checkpoint, folder), grid_size, device)
