"""The parts of the measurement on a GPU, each in a process of its own: see `benchmarks.gpu`.

Nothing is read but code: weights and latents are random, so neither a base nor a video reader is needed.
"""

import gc
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.bare_training import start_anew, train_lora
from benchmarks.gpu_cases import StepCase, steps_of
from benchmarks.gpu_tables import training_so_far
from benchmarks.profiling import profiled
from benchmarks.sampling import Clock
from motionmatcher.bases.denoiser import PassMode
from motionmatcher.config.settings import PRECISIONS
from motionmatcher.cost.meter import tensor_bytes
from motionmatcher.cost.step import sampling_peak_bytes
from motionmatcher.devices import compute_exactly, free_unused, weight_dtype
from motionmatcher.diffusion.sampling import guided_predictor
from motionmatcher.diffusion.solvers import make_solver, solve
from motionmatcher.environment import processor_name
from motionmatcher.training.loop import make_optimizer

Found = dict[str, Any]
# Takes what a part finds, at once.
Tell = Callable[[Found], None]
# A step is timed so often, or for so long.
TIMED_STEPS, TIMED_SECONDS = 3, 6.0
TRAINED_STEPS, QUICK_TRAINED_STEPS = 20, 3
SAMPLED_STEPS, QUICK_SAMPLED_STEPS = 4, 1
# Steps of the whole video of which those are the first, and their guidance, as in the bases' configs.
SOLVER_STEPS = 50
GUIDANCE = {"zeroscope": 12.0, "wan": 5.0}
# AdamW's, so small that the gradients of random networks move the LoRA.
ADAM_EPSILON = 1e-15
# fp16's loss scale after a few steps: below, nearly all gradients are lost, and above, it overflows.
SANE_LOSS_SCALES = (1.0, 2.0**24)


def card(tell: Tell, device: str, quick: bool) -> None:
    """Say what card it is, and measure how fast it multiplies matrices."""
    where = torch.device(device)
    tell({"kind": "versions", **_versions()})
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        free, total = torch.cuda.mem_get_info(where)
        tell(
            {
                "kind": "card",
                "name": properties.name,
                "memory_bytes": total,
                "free_bytes": free,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
                "driver": _driver(),
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
            }
        )
    compute_exactly(where)
    for precision in PRECISIONS:
        dtype = weight_dtype(precision, where)
        side = 256 if quick else 8192
        tell(
            {
                "kind": "rate",
                "precision": precision,
                "side": side,
                "flops_per_second": product_rate(where, dtype, side),
            }
        )


def product_rate(device: torch.device, dtype: torch.dtype, side: int, repeats: int = 10) -> float:
    """Measure how many FLOPs a second a product of square matrices of random numbers reaches."""
    draw = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(side, side, device=device, generator=draw).to(dtype) for _ in range(2)
    )
    for _ in range(3):
        left @ right
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        left @ right
    _wait(device)
    return repeats * 2 * side**3 / (time.perf_counter() - start)


def counts(tell: Tell, device: str, quick: bool) -> None:
    """Count what the dry run says of each step, and of a pass of sampling."""
    where = torch.device(device)
    for base in ("zeroscope", "wan"):
        for wanted in steps_of(base, quick):
            with wanted.attention():
                counted = wanted.fake(where).cost().values()
            tell({"kind": "count", "base": base, "name": wanted.name, **counted})
        case = steps_of(base, quick)[0].case
        peak = sampling_peak_bytes(
            case.denoiser_class,
            case.config,
            (2, *case.latent_shape),
            case.num_tokens,
            weight_dtype(case.precision, where),
            where,
        )
        tell({"kind": "count", "base": base, "name": "sampling", "peak_bytes": peak})


def steps(tell: Tell, device: str, quick: bool, base: str, compiled: bool = False) -> None:
    """Time the steps of a base and measure their memory; one that does not fit is passed over."""
    where = torch.device(device)
    compute_exactly(where)
    for wanted in steps_of(base, quick, compiled):
        try:
            with wanted.attention():
                found = measure_step(wanted, where)
        except torch.OutOfMemoryError as error:
            found = {"out_of_memory": str(error).splitlines()[0]}
        gc.collect()
        free_unused(where)
        if compiled:
            torch._dynamo.reset()  # what was compiled is of no use to the next network
        tell(
            {
                "kind": "step",
                "base": base,
                "name": wanted.name,
                "precision": wanted.case.precision,
                "compiled": compiled,
                **found,
            }
        )


def measure_step(wanted: StepCase, device: torch.device) -> Found:
    """Measure a step as training makes it: loss, gradient, update."""
    step = wanted.real(device)
    parameters = list(step.base.denoiser.lora_parameters().values())
    optimizer = make_optimizer(step.settings, parameters)

    def update() -> float:
        loss = step.loss().total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()  # waits for all of it

    first, loss = _timed(update)  # compiles, and chooses kernels
    peak = profiled(update, device).peak_bytes
    seconds: list[float] = []
    while len(seconds) < TIMED_STEPS and sum(seconds) < TIMED_SECONDS:
        seconds.append(_timed(update)[0])
    # What is there all the time: weights, and two moments of each one that is trained.
    there = tensor_bytes(step.base.denoiser.parameters()) + 2 * tensor_bytes(parameters)
    return {
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "first_seconds": first,
        "peak_bytes": there + peak,
        "reserved_bytes": _reserved(device),
        "loss": loss,
    }


def training(tell: Tell, device: str, quick: bool, base: str) -> None:
    """Train a new LoRA for some steps, by the program's own loop, as the first of a base's steps.

    A loss that is not finite ends it, and says so.
    """
    where = torch.device(device)
    compute_exactly(where)
    wanted = steps_of(base, quick)[0]
    num_steps = QUICK_TRAINED_STEPS if quick else TRAINED_STEPS
    step = wanted.real(where)
    denoiser = step.base.denoiser
    start_anew(denoiser)
    what = {"base": base, "name": wanted.name, "precision": wanted.case.precision}
    logged: list[Found] = []
    ends = [time.perf_counter()]

    def on_step(values: Mapping[str, float]) -> None:
        ends.append(time.perf_counter())
        logged.append({**values, "seconds": ends[-1] - ends[-2]})
        tell({"kind": "training step", **what, **logged[-1]})

    with tempfile.TemporaryDirectory() as folder:
        settings = replace(
            wanted.settings, output_dir=folder, max_train_steps=num_steps, adam_epsilon=ADAM_EPSILON
        )
        scaler = train_lora(step, settings, Path(folder), on_step=on_step).scaler
    moved = [weight for name, weight in denoiser.lora_parameters().items() if ".lora_B." in name]
    scale = scaler.get_scale() if scaler is not None else None
    low, high = SANE_LOSS_SCALES
    tell(
        {
            "kind": "training",
            **what,
            **training_so_far(logged),
            "loss_scale": scale,
            "loss_scale_sane": scale is None or low <= scale <= high,
            "lora_b_norm": torch.nn.utils.get_total_norm(moved).item(),
            "reserved_bytes": _reserved(where),
            **_peak_so_far(where),
        }
    )


@torch.no_grad()
def sampling(tell: Tell, device: str, quick: bool, base: str) -> None:
    """Time guided steps of sampling with the LoRA merged into the weights and beside them."""
    where = torch.device(device)
    compute_exactly(where)
    wanted = steps_of(base, quick)[0]
    step = wanted.case.real(where, weight_dtype(wanted.case.precision, where))
    schedule, denoiser = step.base.schedule, step.base.denoiser.eval()
    states = step.batch.text_states
    predictor = guided_predictor(step.base, states, torch.zeros_like(states), GUIDANCE[base])
    noise, num_steps = step.batch.noise, QUICK_SAMPLED_STEPS if quick else SAMPLED_STEPS
    weights = tensor_bytes(denoiser.parameters())
    # With the LoRA merged a pass is the base's own, whatever its numbers.
    for lora, mode in {"merged": PassMode(lora=False), "beside": PassMode(lora=True)}.items():
        solver = make_solver(schedule.own_solver, schedule, SOLVER_STEPS)
        first, *others = solver.timesteps[: 1 + num_steps]
        clock = Clock(lambda: _wait(where))
        with denoiser.in_mode(mode):
            found = profiled(lambda: solve(noise, predictor, [first], solver), where)  # noqa: B023
            solve(found.result, predictor, clock.timed(others), solver)
        tell(
            {
                "kind": "sampling",
                "base": base,
                "name": "sampling",
                "lora": lora,
                "precision": wanted.case.precision,
                "seconds": statistics.median(clock.seconds),
                "all_seconds": clock.seconds,
                "peak_bytes": weights + found.peak_bytes,
            }
        )
    if not denoiser.merges_lora:
        return
    merging = Clock(lambda: _wait(where))
    for _ in merging.timed(range(2)):
        with denoiser.lora_at():
            pass
    tell({"kind": "merging", "base": base, "seconds": merging.seconds[-1]})


def _timed(update: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    loss = update()
    return time.perf_counter() - start, loss


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reserved(device: torch.device) -> int | None:
    """The most that the allocator has taken from the card, what it lost between tensors included."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def _peak_so_far(device: torch.device) -> Found:
    """The most that there has been of tensors at once; empty on a CPU, where nobody keeps count."""
    if device.type != "cuda":
        return {}
    return {"peak_bytes": torch.cuda.max_memory_allocated(device)}


def _versions() -> Found:
    names = ("torch", "diffusers", "transformers", "peft", "accelerate")
    return {
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _driver() -> str | None:
    """The driver's version; None where nobody can tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.partition("\n")[0].strip() or None
