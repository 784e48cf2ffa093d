"""A real training step at full size, with random weights and gradient checkpointing: Zeroscope's or Wan's.

With `--counted` nothing is run: FLOPs and peak memory of every mode and kind of recomputation, and of
the straightforward step, are counted on fake tensors and compared with the floor.
"""

import time
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.results import benchmark_parser, report, table
from motionmatcher.command_line import run
from motionmatcher.config.bounds import MAX_FRAMES, MAX_PIXELS, whole_number
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from benchmarks.cases import Case

RECOMPUTED = ("none", "selective", "full")


def parse_arguments() -> Namespace:
    parser = benchmark_parser("full_size", __doc__)
    parser.add_argument("--base", choices=("zeroscope", "wan"), default="zeroscope")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), help="default: bf16")
    parser.add_argument(
        "--mode", choices=("difference", "tangent"), help="default: as the base is trained"
    )
    parser.add_argument(
        "--frames", type=whole_number(1, MAX_FRAMES), help="of the clip; default: 16, or Wan's 33"
    )
    parser.add_argument(
        "--size",
        type=latent_size,
        metavar="HxW",
        help="of the latents; one number for both; default: 48, or Wan's 60x104",
    )
    parser.add_argument("--counted", action="store_true", help="count every mode, run none")
    return parser.parse_args()


def latent_size(text: str) -> tuple[int, int]:
    """Parse `48` or `60x104`, for `add_argument`."""
    height, _, width = text.partition("x")
    side = whole_number(1, MAX_PIXELS)
    try:
        return side(height), side(width or height)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"expected HxW, such as 60x104: {error}") from error


def choose_case(arguments: Namespace) -> "Case":
    """Make the case that is asked for, as its base is usually trained where nothing is said."""
    from benchmarks.cases import Case, WanCase

    wan = arguments.base == "wan"
    if arguments.quick:
        case = WanCase("tiny", 5, 8, precision="no") if wan else Case("tiny", 2, 8)
        case = replace(case, checkpointing=True)
    else:
        case = WanCase() if wan else Case("full", precision="bf16", checkpointing=True)
    given = {key: getattr(arguments, key) for key in ("mode", "precision", "frames", "size")}
    case = replace(case, **{key: value for key, value in given.items() if value is not None})
    if case.precision not in case.denoiser_class.precisions:
        raise UserError(f"--precision {case.precision}: the weights of this base do not stand it.")
    return case


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    import tempfile
    from itertools import pairwise
    from pathlib import Path

    import torch

    from benchmarks.profiling import peak_resident
    from motionmatcher.bases.lora import LoraInfo
    from motionmatcher.devices import choose_device, compute_exactly, weight_dtype
    from motionmatcher.training.checkpoints import save_checkpoint
    from motionmatcher.training.loop import make_optimizer

    start_up = time.perf_counter() - started
    device = choose_device(arguments.device)
    compute_exactly(device)
    case = choose_case(arguments)
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
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    gradient_norm = torch.nn.utils.get_total_norm(gradients).item()
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident()
    dtype_name = str(dtype).removeprefix("torch.")
    values = {
        "case": vars(case),
        "dtype": dtype_name,
        "loss": loss.item(),
        "gradient_norm": gradient_norm,
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
        ("norm of the LoRA's gradient", gradient_norm),
    ]
    text = f"{case.describe(dtype_name)}, mode {case.mode}, checkpointing on."
    title = f"{case.title}, {case.mode}, {dtype_name}"
    report(arguments, title, values, text, table(["what", "value"], rows))


def report_counts(arguments: Namespace, case: "Case", device: Any) -> None:
    """Count steps of each mode (quickly: of one) and recomputation, and a straightforward one."""
    from benchmarks.floor import count_floor
    from benchmarks.straightforward import StraightforwardMatching
    from motionmatcher.devices import weight_dtype
    from motionmatcher.features.dual_attention import dual_attention_by, explicit_attention

    rows: list[tuple[Any, ...]] = []
    values = []
    for mode in (case.mode,) if arguments.quick else ("difference", "tangent"):
        plain = replace(case, mode=mode, checkpointing=False)
        floor = count_floor(plain)
        step = plain.fake(device)
        for what in RECOMPUTED:
            step.base.denoiser.recompute_in_backward(what)
            with dual_attention_by(explicit_attention):  # as a GPU attends
                cost = step.cost()
            lowest = floor.checkpointed if what == "full" else floor.plain
            of_floor = cost.flops / lowest
            rows.append((mode, what, cost.flops / 1e12, of_floor, cost.peak_bytes / 2**30))
            values.append(
                {"mode": mode, "recomputed": what, "floor_flops": lowest, **cost.values()}
            )
    plain = replace(case, mode="difference", precision="no", checkpointing=False)
    cost = plain.fake(device, StraightforwardMatching()).cost()
    rows.append(("straightforward, fp32", "none", cost.flops / 1e12, "", cost.peak_bytes / 2**30))
    dtype = str(weight_dtype(case.precision, device)).removeprefix("torch.")
    report(
        arguments,
        f"{case.title}, counted, {dtype}",
        {"case": vars(case), "counted": values, "straightforward": cost.values()},
        f"{case.describe(dtype)}.",
        table(["mode", "recomputation", "TFLOP", "of the floor", "peak GiB"], rows),
    )


if __name__ == "__main__":
    run(main)
