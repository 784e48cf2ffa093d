"""How long trainings take."""

import math
from typing import Any

from experiments.comparison.workers import seconds_per_step


def test_seconds_per_step_are_the_median_of_trainings_that_ended() -> None:
    def result(method: str, seconds: float, diverged: str | None = None) -> dict[str, Any]:
        cell = {"method": method, "steps": [50, 100]}
        return {"cell": cell, "training_seconds": seconds, "diverged": diverged}

    results = [result("vmc", seconds) for seconds in (40.0, 50.0, 900.0)]
    results += [result("vmc", 1.0, "the loss is nan"), result("denoising", 1.0, "the loss is nan")]
    assert seconds_per_step(results, "vmc") == 0.5
    assert math.isnan(seconds_per_step(results, "denoising"))
