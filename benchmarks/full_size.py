"""A real training step at full size: Zeroscope's UNet with random weights, gradient checkpointing on.

With `--counted` nothing is run: FLOPs and peak memory of every mode and kind of recomputation are
counted on fake tensors.
"""

import time
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.results import benchmark_parser, report, table
from motionmatcher.command_line import run
from motionmatcher.config.bounds import whole_number
from motionmatcher.config.settings import MAX_FRAMES, MAX_PIXELS

if TYPE_CHECKING:
    from benchmarks.cases import Case

RECOMPUTED = ("none", "selective", "full")


def main() -> None:
    parser = benchmark_parser("full_size", __doc__)
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="bf16")
    parser.add_argument("--mode", choices=("difference", "tangent"), default="difference")
    parser.add_argument("--frames", type=whole_number(1, MAX_FRAMES), default=16)
    parser.add_argument(
        "--size",
        type=whole_number(1, MAX_PIXELS),
        default=48,
        help="height and width of the latents",
    )
    parser.add_argument("--counted", action="store_true", help="count every mode, run none")
    arguments = parser.parse_args()
    started = time.perf_counter()
    import tempfile
    from itertools import pairwise
    from pathlib import Path

    import torch

    from benchmarks.cases import Case
    from benchmarks.profiling import peak_resident
    from motionmatcher.bases.lora import LoraInfo
    from motionmatcher.devices import choose_device, compute_exactly, weight_dtype
    from motionmatcher.training.checkpoints import save_checkpoint
    from motionmatcher.training.loop import make_optimizer

    start_up = time.perf_counter() - started
    device = choose_device(arguments.device)
    compute_exactly(device)
    case = Case(
        "full",
        arguments.frames,
        arguments.size,
        mode=arguments.mode,
        precision=arguments.precision,
        checkpointing=True,
    )
    if arguments.quick:
        case = Case("tiny", 2, 8, mode=arguments.mode, checkpointing=True)
    if arguments.counted:
        report_counts(arguments, case, device)
        return
    dtype = weight_dtype(case.precision, device)
    step = case.real(device, dtype)
    parameters = list(step.base.denoiser.lora_parameters().values())
    optimizer = make_optimizer(step.settings, parameters)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    marks = [now()]
    loss = step.loss().total
    marks.append(now())
    loss.backward()
    marks.append(now())
    optimizer.step()
    marks.append(now())
    with tempfile.TemporaryDirectory() as folder:
        info = LoraInfo(case.rank, ("attention",))
        save_checkpoint(Path(folder) / "checkpoint-1", 1, step.base.denoiser, info, optimizer, None)
        marks.append(now())
    forward, backward, update, saving = (b - a for a, b in pairwise(marks))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident()
    dtype_name = str(dtype).removeprefix("torch.")
    values = {
        "case": vars(case),
        "dtype": dtype_name,
        "loss": loss.item(),
        "start_up_seconds": start_up,
        "forward_seconds": forward,
        "backward_seconds": backward,
        "update_seconds": update,
        "step_seconds": forward + backward + update,
        "checkpoint_seconds": saving,
        "peak_bytes": peak,
    }
    rows = [
        ("start-up before weights, s", start_up),
        ("forward, s", forward),
        ("backward, s", backward),
        ("update, s", update),
        ("the step, s", forward + backward + update),
        ("saving a checkpoint, s", saving),
        ("peak memory of device or process, GiB", peak / 2**30),
        ("loss", loss.item()),
    ]
    text = f"{describe(case, dtype_name)}, mode {case.mode}, checkpointing on."
    title = f"Full size, {case.mode}, {dtype_name}"
    report(arguments, title, values, text, table(["what", "value"], rows))


def report_counts(arguments: Namespace, case: "Case", device: Any) -> None:
    """Count the steps of both modes (quickly: of one) with each kind of recomputation; report them."""
    from motionmatcher.devices import weight_dtype

    rows, values = [], []
    for mode in (case.mode,) if arguments.quick else ("difference", "tangent"):
        step = replace(case, mode=mode, checkpointing=False).fake(device)
        for what in RECOMPUTED:
            step.base.denoiser.recompute_in_backward(what)
            cost = step.cost()
            rows.append((mode, what, cost.flops / 1e12, cost.peak_bytes / 2**30))
            values.append({"mode": mode, "recomputed": what, **cost.values()})
    dtype = str(weight_dtype(case.precision, device)).removeprefix("torch.")
    report(
        arguments,
        f"Full size, counted, {dtype}",
        {"case": vars(case), "counted": values},
        f"{describe(case, dtype)}.",
        table(["mode", "recomputation", "TFLOP", "peak GiB"], rows),
    )


def describe(case: "Case", dtype: str) -> str:
    """Say in words what is measured."""
    return f"Width {case.width}, {case.frames} frames of {case.size}x{case.size} latents, {dtype}"


if __name__ == "__main__":
    run(main)
