"""Mutants of the choice of checkpoint and noise prior: its rule, its grid, and what inference takes."""

from mutation.mutant import mutants

CHOOSING = (
    mutants(
        "experiments/choose/rule.py",
        "tests/experiments/choose/test_rule.py",
        {
            "leaks are allowed": ("mean > MAX_TAKEN_OVER", "False"),
            "the limit itself leaks": ("mean > MAX_TAKEN_OVER", "mean >= MAX_TAKEN_OVER"),
            "what is lost counts as nothing": (
                "np.where(np.isnan(table), farthest, table)",
                "np.nan_to_num(table)",
            ),
            "doubts are not asked": ("if metric.name not in doubted", "if metric"),
            "colours though there is CLIP": (
                "LOOKS_TAKEN_OVER if has_clip else COLOURS_TAKEN_OVER",
                "COLOURS_TAKEN_OVER",
            ),
        },
    )
    + mutants(
        "experiments/choose/grid.py",
        "tests/experiments/choose/test_grid.py",
        {
            "the base's videos cost nothing": ("(len(self.settings) + 1)", "len(self.settings)"),
            "the first checkpoint stays": ("else steps[1:]", "else steps[:1]"),
            "time that is over counts": ("max(seconds_left, 0) / per_video)", "1e9)"),
        },
    )
    + mutants(
        "evaluation/looks.py",
        "tests/evaluation/test_looks.py",
        {
            "distance in place of the way": (
                "(video - base) @ way / (way @ way)",
                "np.linalg.norm(video - base) / np.linalg.norm(way)",
            ),
            "large things count alone": ("POWER = 0.25", "POWER = 1.0"),
        },
    )
    + mutants(
        "motionmatcher/generation/request.py",
        "tests/motionmatcher/generation/test_request.py",
        {
            "the choice wins over flags": (" if entry.name not in given]", "]"),
            "a checkpoint's folder says nothing": ('given["checkpoint"] = step\n', "pass\n"),
        },
    )
)  # fmt: skip
