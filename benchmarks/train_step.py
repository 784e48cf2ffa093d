"""One training step: ours against the straightforward one, and against the floor.

FLOPs and memory are counted on fake tensors, at any size; times and peaks are measured, both steps
in turn in one process, with the same weights.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.results import benchmark_parser, report, table
from motionmatcher.command_line import run
from motionmatcher.config.bounds import MAX_FRAMES, MAX_PIXELS, MAX_REPEATS, whole_number

if TYPE_CHECKING:
    from benchmarks.cases import Case
    from motionmatcher.cost.step import TrainingStep

PHASES = ("target features", "student", "prediction features", "backward")
RECOMPUTING = "ours, selective"
METHODS = ("ours", RECOMPUTING, "straightforward")


def parse_arguments() -> Namespace:
    parser = benchmark_parser("train_step", __doc__)
    parser.add_argument(
        "--width", choices=("tiny", "narrow", "small", "half", "full"), default="half"
    )
    parser.add_argument(
        "--frames", type=whole_number(1, MAX_FRAMES), default=16, help="frames counted"
    )
    parser.add_argument(
        "--timed-frames", type=whole_number(0, MAX_FRAMES), default=None, help="frames run; 0: none"
    )
    parser.add_argument(
        "--size",
        type=whole_number(1, MAX_PIXELS),
        default=48,
        help="height and width of the latents",
    )
    parser.add_argument(
        "--repeats", type=whole_number(1, MAX_REPEATS), default=3, help="timed runs of each step"
    )
    parser.add_argument("--checkpointing", action="store_true", help="of ours")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.width, arguments.frames, arguments.size, arguments.repeats = "tiny", 2, 8, 1
    if arguments.timed_frames is None or arguments.quick:
        arguments.timed_frames = arguments.frames
    return arguments


def run_step(step: "TrainingStep", method: str, mark: Callable[[str], None]) -> Any:
    """Run forward and backward of a step.

    Args:
        step: The step.
        method: One of `METHODS`.
        mark: Called with the name of each phase at its end.

    Returns:
        The loss.
    """
    from benchmarks.straightforward import empty_caches, straightforward_loss

    unet = step.base.denoiser
    unet.zero_grad()
    if method == "straightforward":
        loss = straightforward_loss(step, mark).total
    else:
        if method == RECOMPUTING:
            unet.recompute_in_backward("selective")
        objective: Any = copy(step.objective)
        objective.extractors = [MarkingExtractor(objective.extractors[0], mark)]
        loss = replace(step, objective=objective).loss().total
    loss.backward()
    if method == "straightforward":
        empty_caches()
    if method == RECOMPUTING:
        unet.recompute_in_backward("none")
    mark("backward")
    return loss.detach()


class MarkingExtractor:
    """Calls the extractor of a step in `difference` mode, and marks the ends of its phases."""

    def __init__(self, extractor: Any, mark: Callable[[str], None]) -> None:
        self.extractor, self.mark = extractor, mark
        self.calls = 0

    def __call__(self, *inputs: Any) -> Any:
        if self.calls:
            self.mark("student")
        features = self.extractor(*inputs)
        self.mark("prediction features" if self.calls else "target features")
        self.calls += 1
        return features


def count(case: "Case", method: str, device: Any) -> dict[str, Any]:
    """Count FLOPs and peak memory of a step's phases on fake tensors."""
    step = case.fake(device)
    phases: dict[str, Any] = {}
    with step.measured() as meter:

        def mark(phase: str) -> None:
            flops = meter.flops - sum(found["flops"] for found in phases.values())
            phases[phase] = {"flops": flops, "peak_bytes": meter.peak_bytes}
            meter.peak_bytes = meter.live_bytes

        run_step(step, method, mark)
    return {
        "flops": meter.flops,
        "peak_bytes": max(found["peak_bytes"] for found in phases.values()),
        "phases": phases,
    }


def measure(case: "Case", device: Any, repeats: int, methods: Sequence[str]) -> dict[str, Any]:
    """Time the methods in turn and measure their peaks; the first run of each does not count."""
    import torch

    from benchmarks.profiling import profiled
    from motionmatcher.cost.meter import tensor_bytes

    step = case.real(device)
    weights = tensor_bytes(step.base.denoiser.parameters())
    seconds: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    results: dict[str, Any] = {}

    def timed(method: str) -> dict[str, float]:
        phases: dict[str, float] = {}

        def mark(phase: str) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            phases[phase] = time.perf_counter() - start - sum(phases.values())

        torch.manual_seed(0)
        start = time.perf_counter()
        run_step(step, method, mark)
        return phases

    for method in methods:
        timed(method)  # warms up
    for _ in range(repeats):
        for method in methods:
            seconds[method].append(timed(method))
    for method in methods:
        torch.manual_seed(0)
        found = profiled(
            lambda method=method: run_step(step, method, lambda phase: None),  # type: ignore[misc]
            device,
        )
        results[method] = {
            "loss": float(found.result),
            "peak_bytes": found.peak_bytes + weights,
            "product_seconds": found.product_seconds,
        }
        totals = [sum(phases.values()) for phases in seconds[method]]
        results[method] |= {
            "seconds": statistics.median(totals),
            "all_seconds": totals,
            "phases": {
                phase: statistics.median(phases[phase] for phases in seconds[method])
                for phase in PHASES
            },
        }
    return results


def main() -> None:
    arguments = parse_arguments()
    from benchmarks.cases import Case
    from benchmarks.floor import count_floor
    from motionmatcher.devices import choose_device, compute_exactly

    device = choose_device(arguments.device)
    compute_exactly(device)
    ours = Case(
        arguments.width, arguments.frames, arguments.size, checkpointing=arguments.checkpointing
    )
    methods = [name for name in METHODS if not (ours.checkpointing and name == RECOMPUTING)]
    counted = {
        method: count(
            replace(ours, checkpointing=ours.checkpointing and method == "ours"), method, device
        )
        for method in methods
    }
    floor = count_floor(ours)
    lowest = floor.checkpointed if ours.checkpointing else floor.plain
    values: dict[str, Any] = {"case": vars(ours), "floor_flops": lowest, "counted": counted}
    rows: list[tuple[Any, ...]] = [("floor", lowest / 1e12, 1.0, "", "")]
    for method, found in counted.items():
        memory = found["peak_bytes"] / 2**30
        share = found["peak_bytes"] / counted["straightforward"]["peak_bytes"]
        rows.append((method, found["flops"] / 1e12, found["flops"] / lowest, memory, share))
    paragraphs = [
        f"Counted, {describe(ours)}:",
        table(["step", "TFLOP", "of the floor", "peak GiB", "of straightforward"], rows),
        phase_table(
            "TFLOP and peak GiB",
            methods,
            lambda method, phase: "{:.3g}, {:.3g}".format(
                counted[method]["phases"][phase]["flops"] / 1e12,
                counted[method]["phases"][phase]["peak_bytes"] / 2**30,
            ),
        ),
    ]
    if arguments.timed_frames:
        timed = replace(ours, frames=arguments.timed_frames)
        measured = measure(timed, device, arguments.repeats, methods)
        values["measured"] = {"frames": timed.frames, **measured}
        slow = measured["straightforward"]
        rows = [
            (
                method,
                found["seconds"],
                found["seconds"] / slow["seconds"],
                found["product_seconds"] or "",
                found["peak_bytes"] / 2**30,
                found["peak_bytes"] / slow["peak_bytes"],
                f"{found['loss']:.6e}",
            )
            for method, found in measured.items()
        ]
        share = "of straightforward"
        head = ["step", "seconds", share, "s in products", "peak GiB", share, "loss"]
        paragraphs += [
            f"Measured, {describe(timed)}; medians of {arguments.repeats}, in turn:",
            table(head, rows),
            phase_table(
                "seconds", methods, lambda method, phase: f"{measured[method]['phases'][phase]:.3g}"
            ),
        ]
    report(arguments, f"Training step, width {ours.width}", values, *paragraphs)


def describe(case: "Case") -> str:
    """Say in words what is measured."""
    channels = ", ".join(map(str, case.config.get("block_out_channels", ("Zeroscope's",))))
    checkpointing = (
        "with gradient checkpointing (ours)" if case.checkpointing else "no checkpointing"
    )
    size = f"{case.frames} frames of {case.size}x{case.size} latents"
    return f"channels {channels}, {size}, rank {case.rank}, fp32, {checkpointing}"


def phase_table(what: str, methods: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """Make a table of a value for each phase and method."""
    rows = [(phase, *(cell(method, phase) for method in methods)) for phase in PHASES]
    return table([what, *methods], rows)


if __name__ == "__main__":
    run(main)
