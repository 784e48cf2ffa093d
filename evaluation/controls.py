"""Controls: the reference clip altered in known ways, to show what a metric's values mean."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from evaluation.motion_scorer import MotionScorer
from motionmatcher.clips.video import Frames

SHUFFLE_SEED = 0

ITSELF = "reference itself"


def _shuffle(frames: Frames) -> Frames:
    return frames[np.random.default_rng(SHUFFLE_SEED).permutation(len(frames))]


CONTROLS: dict[str, Callable[[Frames], Frames]] = {
    ITSELF: lambda frames: frames,
    "reference mirrored": lambda frames: frames[:, :, ::-1],
    "reference frozen": lambda frames: np.repeat(frames[:1], len(frames), axis=0),
    "reference reversed": lambda frames: frames[::-1],
    "reference time-shuffled": _shuffle,
}


def score_controls(
    scorer: MotionScorer, reference: Frames, quiet: bool = False
) -> dict[str, dict[str, float]]:
    """Score the reference clip against itself, mirrored, frozen, reversed and time-shuffled.

    Args:
        scorer: Made for this reference.
        reference: uint8 (F, H, W, 3).
        quiet: Show no progress.

    Returns:
        Values by metric, by control; the reference itself comes first.
    """
    progress = tqdm(CONTROLS.items(), desc="controls", leave=False, disable=quiet)
    return {
        name: dict(scorer.score(np.ascontiguousarray(alter(reference))).values)
        for name, alter in progress
    }
