"""Mutants of the window's logic."""

from mutation.mutant import mutants

_TESTS = "tests/motionmatcher/app/test_"

APP = [
    *mutants(
        "motionmatcher/app/job.py",
        f"{_TESTS}job.py",
        {
            "what fails while it is stopped has not failed": (
                "if code in STOPPED and self._stopped.is_set():",
                "if self._stopped.is_set():",
            ),
            "a failure ends nothing": (
                "self._failed = self._reason(command, code)\n                return",
                "self._failed = self._reason(command, code)",
            ),
            "Ctrl-C of the window reaches the program": (
                "start_new_session=True",
                "start_new_session=False",
            ),
        },
    ),
    *mutants(
        "motionmatcher/app/commands.py",
        f"{_TESTS}commands.py",
        {
            "prompts are interpolated": ("escape(prompt) for", "prompt for"),
            "the base keeps the LoRA": ('"--lora_scale=0"', '"--lora_scale=1"'),
            "the base's seeds are counted by videos": (
                'f"--repeat_num={len(seeds)}"',
                'f"--repeat_num={len(made)}"',
            ),
        },
    ),
    *mutants(
        "motionmatcher/app/workshop.py",
        f"{_TESTS}workshop.py",
        {
            "runs are looked for within runs": (
                "folders[:] = [name for name in folders if name not in runs]",
                "pass",
            ),
            "a second job starts beside the first": (
                'if self.job is not None and self.job.is_running:\n            raise UserError(f"{self',
                'if False:\n            raise UserError(f"{self',
            ),
        },
    ),
    *mutants(
        "motionmatcher/app/curve.py",
        f"{_TESTS}curve.py",
        {"a preview counts as a step": ("paces[len(paces) // 2]", "paces[-1]")},
    ),
    *mutants(
        "motionmatcher/app/show.py",
        (f"{_TESTS}comparison.py", f"{_TESTS}show.py"),
        {
            "a doubtful number is shown": (
                "if scores and scores.trusted else None",
                "if scores else None",
            ),
            "templates are left in texts": ('.replace("$", "&#36;")', ""),
        },
    ),
    *mutants(
        "motionmatcher/app/pack.py",
        f"{_TESTS}pack.py",
        {"the last is always packed": ("checkpoint=step, ", "")},
    ),
]
