"""Mutants of the cost that is counted before weights are read."""

from mutation.mutant import mutants

COUNTING = [
    *mutants(
        "motionmatcher/cost/meter.py",
        "tests/motionmatcher/cost/test_step.py::test_what_is_repeated_by_hand",
        {
            "memory that stays is counted once": (
                "            self.live_bytes += growth\n",
                "",
            ),
            "the peak is the first one's": (
                "self.peak_bytes + max(growth, 0)",
                "self.peak_bytes",
            ),
            "what is taken out lowers the peak": ("max(growth, 0)", "growth"),
            "the peak from before is forgotten": ("max(peak, self", "max(0, self"),
            "FLOPs are counted once more": (
                "self.flops += (number - 1)",
                "self.flops += number",
            ),
        },
    ),
    *mutants(
        "motionmatcher/cost/step.py",
        "tests/motionmatcher/cost/test_step.py",
        {
            "weights of blocks count once": ("(times for path, times in", "(1 for path, times in"),
            "blocks go back once": ("if output.requires_grad:", "if False:"),
        },
    ),
    *mutants(
        "motionmatcher/bases/wan.py",
        "tests/motionmatcher/cost/test_step.py",
        {
            "the last block stands for others": ("[1, number - 2, 1]", "[1, 1, number - 2]"),
            "other blocks are read": ("replace(settings, blocks=blocks)", "settings"),
        },
    ),
    *mutants(
        "motionmatcher/cost/estimate.py",
        "tests/motionmatcher/cost/test_estimate.py",
        {
            "all is counted": ("        if fits(steps[what], free):\n            break\n", ""),
        },
    ),
]
