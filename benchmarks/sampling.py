"""Sampling with the LoRA: time per step against a plain UNet's loop, and what merging costs."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.results import benchmark_parser, report, table
from motionmatcher.command_line import run
from motionmatcher.config.bounds import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_REPEATS,
    MAX_TIMESTEPS,
    whole_number,
)

if TYPE_CHECKING:
    from diffusers import UNet3DConditionModel
    from torch import Tensor

    from motionmatcher.bases.unet3d import MotionUNet

GUIDANCE = 12.0


def plain_unet(unet: "MotionUNet") -> "UNet3DConditionModel":
    """Make diffusers' own UNet with the very weights of ours, and without its LoRA."""
    from accelerate import init_empty_weights
    from diffusers import UNet3DConditionModel

    with init_empty_weights():
        plain = UNet3DConditionModel.from_config(unet.config)
    for name, weight in unet.named_parameters():
        if ".lora_" not in name:
            path, _, leaf = name.replace(".base_layer", "").rpartition(".")
            setattr(plain.get_submodule(path), leaf, weight)
    return plain.eval()


def plain_loop(
    unet: "UNet3DConditionModel",
    latents: "Tensor",
    states: "Tensor",
    num_steps: int,
    clock: "Clock",
) -> "Tensor":
    """Sample as diffusers' pipeline does: one batch of both prompts a step, guidance, DDIM.

    Args:
        unet: The plain UNet.
        latents: Start noise (1, C, F, h, w).
        states: Negative and wanted prompt (2, T, D).
        num_steps: DDIM steps.
        clock: Times the steps.
    """
    import torch
    from diffusers import DDIMScheduler

    from testbed.random_base import SCHEDULER_CONFIG

    scheduler = DDIMScheduler.from_config(SCHEDULER_CONFIG)
    scheduler.set_timesteps(num_steps)
    for timestep in clock.timed(scheduler.timesteps):
        both = unet(torch.cat([latents, latents]), timestep, states).sample
        unconditional, conditional = both.chunk(2)
        prediction = unconditional + GUIDANCE * (conditional - unconditional)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents


class Clock:
    """Times the turns of a loop.

    Attributes:
        seconds: Of each turn so far.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds: list[float] = []
        self.wait = wait

    def timed(self, turns: Iterable[Any]) -> Iterator[Any]:
        """Wrap a loop's turns, as a progress bar would."""
        for turn in turns:
            start = time.perf_counter()
            yield turn
            self.wait()
            self.seconds.append(time.perf_counter() - start)


def main() -> None:
    parser = benchmark_parser("sampling", __doc__)
    parser.add_argument("--width", choices=("tiny", "small", "half", "full"), default="half")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--frames", type=whole_number(1, MAX_FRAMES), default=4)
    parser.add_argument(
        "--size",
        type=whole_number(1, MAX_PIXELS),
        default=48,
        help="height and width of the latents",
    )
    parser.add_argument(
        "--steps", type=whole_number(1, MAX_TIMESTEPS), default=6, help="steps of each run"
    )
    parser.add_argument(
        "--repeats", type=whole_number(1, MAX_REPEATS), default=3, help="runs of each loop, in turn"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.width, arguments.frames, arguments.size = "tiny", 2, 8
        arguments.steps, arguments.repeats = 2, 1
    import torch

    from benchmarks.cases import Case
    from motionmatcher.devices import choose_device, compute_exactly, weight_dtype
    from motionmatcher.diffusion.sampling import SamplingSettings, denoise_with_gate
    from motionmatcher.diffusion.solvers import solver_names

    device = choose_device(arguments.device)
    compute_exactly(device)
    dtype = weight_dtype(arguments.precision, device)
    case = Case(arguments.width, arguments.frames, arguments.size)
    step = case.real(device, dtype)
    solvers = solver_names(step.base.schedule)
    unet = step.base.denoiser.eval()
    plain = plain_unet(unet)
    noise = torch.randn(step.batch.latents.shape, generator=torch.Generator().manual_seed(0)).to(
        device
    )
    negative = torch.zeros_like(step.batch.text_states)
    states = torch.cat([negative, step.batch.text_states])

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    clocks = {name: Clock(wait) for name in ("plain UNet, no LoRA", *solvers)}

    def ours(scheduler: str) -> torch.Tensor:
        settings = SamplingSettings(
            num_frames=case.frames,
            width=8 * arguments.size,
            height=8 * arguments.size,
            num_inference_steps=arguments.steps,
            guidance_scale=GUIDANCE,
            lora_scale=1.0,
            noise_prior=0.0,
            min_timestep=500,
            scheduler=scheduler,
        )
        clock = clocks[scheduler]
        return denoise_with_gate(
            step.base, noise, step.batch.text_states, negative, settings, clock.timed
        )

    merging = Clock(wait)
    with torch.no_grad():
        plain_loop(plain, noise.to(dtype), states.to(dtype), 1, Clock(wait))  # warms up
        for _ in range(arguments.repeats):
            clock = clocks["plain UNet, no LoRA"]
            plain_loop(plain, noise.to(dtype), states.to(dtype), arguments.steps, clock)
            for scheduler in solvers:
                ours(scheduler)
        for _ in merging.timed(range(3)):
            with unet.lora_at():
                pass

    medians = {name: statistics.median(clock.seconds) for name, clock in clocks.items()}
    base = medians["plain UNet, no LoRA"]
    values = {
        "case": vars(case),
        "seconds_per_step": medians,
        "all_seconds": {name: clock.seconds for name, clock in clocks.items()},
        "merge_seconds": statistics.median(merging.seconds),
    }
    rows = [
        (name if name not in solvers else f"ours with the LoRA, {name}", seconds, seconds / base)
        for name, seconds in medians.items()
    ]
    size = f"{case.frames} frames of {arguments.size}x{arguments.size} latents"
    report(
        arguments,
        f"Sampling, width {case.width}",
        values,
        f"Width {case.width}, {size}, {str(dtype).removeprefix('torch.')}, guidance in one batch; medians "
        f"of {arguments.steps * arguments.repeats} steps, in turn. Merging the LoRA and putting the "
        f"weights back takes {values['merge_seconds']:.3g} s, once per video.",
        table(["loop", "seconds per step", "of the plain one"], rows),
    )


if __name__ == "__main__":
    run(main)
