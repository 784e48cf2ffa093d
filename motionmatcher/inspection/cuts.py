"""Hard cuts and repeated frames, found in the steps between frames."""

from collections.abc import Sequence
from statistics import median

from motionmatcher.inspection.steps import Step

# At a cut fewer points than this share are found again …
CUT_FOUND = 0.45
# … and fewer than this share of what is usual about it: fast motion and water are hard to follow
# throughout, and lose points in each step.
CUT_SHARE_OF_USUAL = 0.6
NEIGHBOURS = 3  # steps to each side that say what is usual

# Levels of 255: what encoding the same picture twice changes, at the most, in any place.
REPEAT_CHANGE = 10.0
# A repeat is far below the steps that show something new.
REPEAT_SHARE_OF_USUAL = 0.25


def find_cuts(steps: Sequence[Step]) -> list[int]:
    """Find hard cuts.

    Args:
        steps: From frame i to frame i + 1.

    Returns:
        Indices of the steps that are cuts.
    """
    found = [step.found for step in steps]
    cuts = []
    for index, share in enumerate(found):
        near = found[max(index - NEIGHBOURS, 0) : index] + found[index + 1 : index + 1 + NEIGHBOURS]
        usual = median(near) if near else 1.0
        if share < CUT_FOUND and share < CUT_SHARE_OF_USUAL * usual:
            cuts.append(index)
    return cuts


def find_repeats(steps: Sequence[Step]) -> list[int]:
    """Find steps that show nothing new, between others that do.

    Args:
        steps: From frame i to frame i + 1.

    Returns:
        Indices of the steps whose second frame repeats the first.
    """
    new = [step.change for step in steps if step.change > REPEAT_CHANGE]
    if not new:  # nothing moves at all
        return []
    limit = min(REPEAT_CHANGE, REPEAT_SHARE_OF_USUAL * median(new))
    return [index for index, step in enumerate(steps) if step.change <= limit]
