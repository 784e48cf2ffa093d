"""What the LoRA of a Linear in one step of autograd saves against peft's own forward.

FLOPs and memory of a training step are counted on fake tensors; seconds are measured on a small one, both
ways in turn in one process, with the same weights.
"""

import statistics
import time
from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from benchmarks.results import benchmark_parser, report, table
from motionmatcher.command_line import run
from motionmatcher.config.bounds import MAX_REPEATS, whole_number

if TYPE_CHECKING:
    from torch import nn

JOINED, PEFT = "in one step", "peft's own"
WAYS = (JOINED, PEFT)


def parse_arguments() -> Namespace:
    parser = benchmark_parser("lora_linear", __doc__)
    parser.add_argument(
        "--repeats",
        type=whole_number(0, MAX_REPEATS),
        default=7,
        help="timed runs of each way; 0: only counted",
    )
    return parser.parse_args()


def computed(way: str, unet: "nn.Module") -> AbstractContextManager[None]:
    """Compute the LoRAs of a UNet one way within the block."""
    from motionmatcher.bases.lora_linear import separate_lora

    return nullcontext() if way == JOINED else separate_lora(unet)


def measure(case: Any, device: Any, repeats: int) -> dict[str, list[float]]:
    """Time forward and backward of a step both ways in turn; the first of each does not count."""
    import torch

    step = case.real(device)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(repeats + 1):
        for way in WAYS:
            step.base.denoiser.zero_grad()
            start = time.perf_counter()
            with computed(way, step.base.denoiser):
                step.loss().total.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[way].append(time.perf_counter() - start)
    return seconds


def count(case: Any, way: str, device: Any) -> tuple[int, int]:
    """Count FLOPs and peak bytes of a step on fake tensors."""
    step = case.fake(device)
    with computed(way, step.base.denoiser), step.measured() as meter:
        step.loss().total.backward()
    return meter.flops, meter.peak_bytes


def main() -> None:
    arguments = parse_arguments()
    from benchmarks.cases import Case
    from motionmatcher.devices import choose_device, compute_exactly

    device = choose_device(arguments.device)
    compute_exactly(device)
    large, small = ("half", 16, 48), ("small", 8, 16)
    if arguments.quick:
        large, small, arguments.repeats = ("tiny", 2, 8), ("tiny", 2, 8), 1
    rows, values = [], []
    for checkpointing in (False, True):
        found = {way: count(Case(*large, checkpointing=checkpointing), way, device) for way in WAYS}
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        if arguments.repeats:
            seconds = measure(Case(*small, checkpointing=checkpointing), device, arguments.repeats)
        medians = {way: statistics.median(taken) for way, taken in seconds.items() if taken}
        for way in WAYS:
            flops, peak_bytes = found[way]
            rows.append(
                (
                    "full" if checkpointing else "none",
                    way,
                    flops / 1e12,
                    peak_bytes / 2**30,
                    peak_bytes / found[PEFT][1],
                    *((medians[way], medians[way] / medians[PEFT]) if medians else ()),
                )
            )
            values.append(
                {
                    "checkpointing": checkpointing,
                    "way": way,
                    "flops": flops,
                    "peak_bytes": peak_bytes,
                    "all_seconds": seconds[way],
                }
            )
    head = ["recomputation", "LoRA", "TFLOP", "peak GiB", "of peft's"]
    text = "Counted: width {}, {} frames of {}x{} latents; rank 32, dropout 0.1, fp32.".format(
        *large, large[2]
    )
    if arguments.repeats:
        head += ["seconds", "of peft's"]
        text += " Measured: width {}, {} frames of {}x{} latents; medians of {}, in turn.".format(
            *small, small[2], arguments.repeats
        )
    report(
        arguments,
        "LoRA of a Linear",
        {"steps": values},
        text,
        table(head, rows),
    )


if __name__ == "__main__":
    run(main)
