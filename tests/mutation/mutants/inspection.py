"""Mutants of the report on a clip: what counts as a cut, a repeat, a bar, and the better window."""

from mutation.mutant import mutants

INSPECTION = [
    *mutants(
        "motionmatcher/inspection/cuts.py",
        "tests/motionmatcher/inspection/test_cuts.py",
        {
            "a wild clip is full of cuts": (
                "if share < CUT_FOUND and share < CUT_SHARE_OF_USUAL * usual:",
                "if share < CUT_FOUND:",
            ),
            "what is usual includes the step itself": (
                "found[index + 1 : index + 1 + NEIGHBOURS]",
                "found[index : index + 1]",
            ),
            "slow motion is a repeat": (
                "limit = min(REPEAT_CHANGE, REPEAT_SHARE_OF_USUAL * median(new))",
                "limit = REPEAT_CHANGE",
            ),
        },
    ),
    *mutants(
        "motionmatcher/inspection/steps.py",
        "tests/motionmatcher/inspection/test_cuts.py",
        {
            "fast things on a plain background are cuts": (
                "rests.sum() + (followed & arrives & ~stays).sum()",
                "(followed & arrives).sum()",
            ),
        },
    ),
    *mutants(
        "motionmatcher/inspection/steps.py",
        "tests/motionmatcher/inspection/test_steps.py",
        {
            "where flow is lost its guess is the speed": (
                "_objects_speed(own[followed])",
                "_objects_speed(own[counted])",
            ),
            "a plain picture that changes is found again": ("rests.sum() + ", "len(grid) + "),
        },
    ),
    *mutants(
        "motionmatcher/inspection/bars.py",
        "tests/motionmatcher/inspection/test_bars.py",
        {
            "a black background is a bar": ("or differs < BORDER_SHARE", ""),
            "one black frame makes a bar": (
                "np.maximum(self.brightest, frame)",
                "np.minimum(self.brightest, frame)",
            ),
            "any colour is black": ("(row_high <= BLACK) & ", ""),
        },
    ),
    *mutants(
        "motionmatcher/inspection/notes.py",
        "tests/motionmatcher/inspection/test_notes.py",
        {"advice is always to count frames": ("FrameChoice.of(data).by_time", "False")},
    ),
    *mutants(
        "motionmatcher/inspection/windows.py",
        "tests/motionmatcher/inspection/test_windows.py",
        {
            "the steps between frames that are skipped do not count": (
                "between = range(here + 1, there + 1)",
                "between = range(there, there + 1)",
            ),
            "the camera jumps at a cut": (
                "self.steps[frame - 1 - self.first] for frame in between if frame not in self.cuts",
                "self.steps[frame - 1 - self.first] for frame in between",
            ),
            "all the picture moves at a cut": ("            if frame not in self.cuts\n", ""),
            "the least motion is best": (
                "unfit, stretch, -speed, start",
                "unfit, stretch, speed, start",
            ),
            "the rate does not count": ("unfit, stretch, -speed", "unfit, 0, -speed"),
            "any more motion is worth another window": ("WORTH_MORE = 1.25", "WORTH_MORE = 1.0"),
        },
    ),
]
