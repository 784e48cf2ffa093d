"""Controls: the reference clip altered in known ways, to show what a metric's values mean.

They also show on which clips a metric says nothing: one that cannot tell a faithful copy of the
reference from a frozen or reversed one measures its own noise there (`doubts`).
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.metrics import Metric
from evaluation.motion_scorer import MotionScorer
from motionmatcher.clips.video import Frames, read_video, write_mp4

SHUFFLE_SEED = 0
MARGIN = 2.0

ITSELF = "reference itself"
COPY = "reference re-encoded"
FROZEN = "reference frozen"
REVERSED = "reference reversed"
# What does not move as the reference does, unless it is the reference again.
WRONG_MOTIONS = (FROZEN, REVERSED)


def _encode_again(frames: Frames) -> Frames:
    """Write a clip as generated videos are written, and read it: the faithful copy."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.mp4"
        write_mp4(path, frames, fps=8)
        height, width = frames.shape[1:3]
        return read_video(path)[0][:, :height, :width]  # odd sizes were written with one line more


def _shuffle(frames: Frames) -> Frames:
    return frames[np.random.default_rng(SHUFFLE_SEED).permutation(len(frames))]


CONTROLS: dict[str, Callable[[Frames], Frames]] = {
    ITSELF: lambda frames: frames,
    COPY: _encode_again,
    "reference mirrored": lambda frames: frames[:, :, ::-1],
    FROZEN: lambda frames: np.repeat(frames[:1], len(frames), axis=0),
    REVERSED: lambda frames: frames[::-1],
    "reference time-shuffled": _shuffle,
}


def score_controls(
    scorer: MotionScorer, reference: Frames, quiet: bool = False
) -> dict[str, dict[str, float]]:
    """Score the reference clip against itself, re-encoded, mirrored, frozen, reversed and shuffled.

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


def doubts(
    metrics: Sequence[Metric], controls: Mapping[str, Mapping[str, float]], reference: Frames
) -> dict[str, str]:
    """Find the metrics that cannot be trusted on a clip, by the controls' scores.

    A metric is trusted where the re-encoded reference scores better than the frozen and the reversed
    one: each of these has to be twice as far from the reference itself. One whose pictures are those
    of the reference again, such as a still clip frozen or there and back reversed, is not asked.

    Args:
        metrics: To be looked at; those without controls are left out.
        controls: As `score_controls` gives them.
        reference: uint8 (F, H, W, 3).

    Returns:
        By metric name, why it is not to be trusted, in words.
    """
    asked = [name for name in WRONG_MOTIONS if _differs(CONTROLS[name](reference), reference)]
    found = {}
    for metric in metrics:
        if metric.name in controls.get(ITSELF, {}):
            values = {name: controls[name][metric.name] for name in (ITSELF, COPY, *asked)}
            reason = _doubt(metric, values)
            if reason is not None:
                found[metric.name] = reason
    return found


def _doubt(metric: Metric, values: Mapping[str, float]) -> str | None:
    if math.isnan(values[COPY]):
        return "nothing in the reference can be followed"
    asked = [name for name in values if name in WRONG_MOTIONS]
    if not asked:
        return "nothing moves in the reference: frozen and reversed it is the same clip"
    itself, copy = values[ITSELF], values[COPY]
    for name in asked:
        wrong = values[name]
        if not abs(wrong - itself) >= MARGIN * abs(copy - itself) or wrong == copy:
            return (
                f"the {name} scores {metric.format(wrong)}, a faithful copy {metric.format(copy)}: "
                f"a wrong motion is not told from the right one"
            )
    return None


def _differs(frames: Frames, reference: Frames) -> bool:
    """Tell whether an altered clip differs from the reference by more than its coding."""

    def distance(others: Frames) -> float:
        return float(np.abs(others.astype(np.int16) - reference).mean())

    return distance(frames) > MARGIN * distance(_encode_again(reference))
