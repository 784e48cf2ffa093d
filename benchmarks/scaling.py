"""How a training step's cost grows with the clip's length and size and the LoRA's rank.

FLOPs and memory are counted on fake tensors; with `--width small` or less the step is timed as well.
The exponent p is that of cost ~ x^p, fitted over the values shown.
"""

import time
from dataclasses import replace
from functools import cache
from typing import Any

from benchmarks.results import benchmark_parser, report, table
from motionmatcher.command_line import run
from motionmatcher.config.bounds import MAX_REPEATS, whole_number


def fit_exponent(values: list[int], costs: list[float]) -> float:
    """Fit cost ~ value^p by least squares in logarithms and return p."""
    import numpy as np

    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def main() -> None:
    parser = benchmark_parser("scaling", __doc__)
    parser.add_argument("--width", choices=("tiny", "small", "half", "full"), default="small")
    parser.add_argument("--untimed", action="store_true", help="count only")
    parser.add_argument("--repeats", type=whole_number(1, MAX_REPEATS), default=2)
    arguments = parser.parse_args()
    from benchmarks.cases import Case
    from motionmatcher.cost.step import StepCost
    from motionmatcher.devices import choose_device, compute_exactly

    device = choose_device(arguments.device)
    compute_exactly(device)
    middle = Case(arguments.width, frames=8, size=16)
    axes = {"frames": [4, 8, 16], "size": [8, 16, 32], "rank": [8, 32, 128]}
    if arguments.quick:
        middle = Case("tiny", frames=2, size=8)
        axes = {"frames": [2, 4], "size": [8, 16], "rank": [8, 32]}
        arguments.repeats = 1

    # The middle is on every axis.
    @cache
    def count(case: Case) -> StepCost:
        return case.fake(device).cost()

    @cache
    def time_step(case: Case) -> float:
        return step_seconds(case, device, arguments.repeats)

    results: dict[str, Any] = {"case": vars(middle)}
    paragraphs = []
    for axis, values in axes.items():
        cases = [replace(middle, **{axis: value}) for value in values]  # type: ignore[arg-type]
        costs = [count(case) for case in cases]
        columns = {
            "TFLOP": [cost.flops / 1e12 for cost in costs],
            "peak GiB": [cost.peak_bytes / 2**30 for cost in costs],
        }
        if not arguments.untimed:
            columns["seconds"] = [time_step(case) for case in cases]
        exponents = {name: fit_exponent(values, column) for name, column in columns.items()}
        results[axis] = {"values": values, **columns, "exponents": exponents}
        rows = [(value, *cells) for value, *cells in zip(values, *columns.values(), strict=True)]
        rows.append(("exponent", *exponents.values()))
        paragraphs.append(table([axis, *columns], rows))
    text = (
        f"Width {middle.width}; where nothing else is said {middle.frames} frames, "
        f"{middle.size}x{middle.size} latents, rank {middle.rank}."
    )
    report(arguments, f"Scaling, width {middle.width}", results, text, *paragraphs)


def step_seconds(case: Any, device: Any, repeats: int) -> float:
    """Time a step, forward and backward: the fastest of some after one that warms up."""
    import torch

    step = case.real(device)
    seconds = []
    for _ in range(1 + repeats):
        step.base.denoiser.zero_grad()
        start = time.perf_counter()
        step.loss().total.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


if __name__ == "__main__":
    run(main)
