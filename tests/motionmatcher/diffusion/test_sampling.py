"""Sampling: where the LoRA is on, what guidance combines, which noise videos start from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from motionmatcher.bases.denoiser import PassMode
from motionmatcher.diffusion.flow_schedule import FlowSchedule
from motionmatcher.diffusion.sampling import (
    SamplingSettings,
    guided_predictor,
    invert_reference,
    sample_latents,
)
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.random_streams import video_noise
from testbed.random_base import SCHEDULER_CONFIG

TIMESTEPS = [801, 601, 401, 201, 1]
SHAPE = (4, 3, 2, 5)  # channels, frames, height, width


class StandIn:
    """A base and its parts, which predicts its prompt's number; notes how it was asked."""

    def __init__(self) -> None:
        self.schedule: NoiseSchedule | FlowSchedule = NoiseSchedule.from_config(SCHEDULER_CONFIG)
        self.device = torch.device("cpu")
        self.denoiser = self.codec = self
        self.lora_share = 1.0
        self.asked: list[tuple[int, float, list[float]]] = []  # timestep, LoRA's share, prompts

    def latent_shape(self, num_frames: int, width: int, height: int) -> tuple[int, int, int, int]:
        return 4, num_frames, height // 8, width // 8

    @contextmanager
    def lora_at(self, scale: float = 1.0) -> Iterator[None]:
        self.lora_share = scale
        yield
        self.lora_share = 1.0

    @contextmanager
    def in_mode(self, mode: PassMode) -> Iterator[None]:
        self.lora_share = float(mode.lora)
        yield
        self.lora_share = 1.0

    def predict(self, latents: Tensor, timestep: int, text_states: Tensor) -> Tensor:
        assert len(latents) == len(text_states)
        self.asked.append((timestep, self.lora_share, text_states.flatten().tolist()))
        return text_states.reshape(-1, 1, 1, 1, 1).expand_as(latents)


def prompts(*numbers: float) -> Tensor:
    """Encoded prompts (B, 1, 1), a number each."""
    return torch.tensor(numbers).reshape(-1, 1, 1)


def settings(**changes: Any) -> SamplingSettings:
    values = {
        "num_frames": 3,
        "width": 40,
        "height": 16,
        "num_inference_steps": 5,
        "guidance_scale": 1,
        "lora_scale": 0.5,
        "noise_prior": 0,
        "min_timestep": 401,
    }
    return SamplingSettings(**{**values, **changes})


def sample(base: StandIn, how: SamplingSettings, inversion: Tensor | None = None) -> Tensor:
    """Two videos of seeds 5 and 6."""
    return sample_latents(base, prompts(0, 0), prompts(0), [5, 6], how, inversion)  # type: ignore[arg-type]


def test_the_lora_is_on_down_to_min_timestep() -> None:
    base = StandIn()
    sample(base, settings())
    shares = {timestep: share for timestep, share, _ in base.asked}
    assert shares == {801: 0.5, 601: 0.5, 401: 0.5, 201: 0, 1: 0}
    assert len(base.asked) == 5


def test_min_timestep_is_a_place_in_a_flow_schedule() -> None:
    """Four of eight steps are at noise levels of 0.75 and more, which shift 3 makes of 0.5."""
    base = StandIn()
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    base.schedule = FlowSchedule.from_config(config)
    sample(base, settings(num_inference_steps=8, scheduler="euler", min_timestep=500))
    asked = [(timestep, share) for timestep, share, _ in base.asked]
    assert [share for _, share in asked] == 4 * [0.5] + 4 * [0]
    assert asked[3][0] > 750 > asked[4][0] > 500


def test_guidance_by_hand() -> None:
    base, latents = StandIn(), torch.zeros(2, *SHAPE)
    denoise = guided_predictor(base, prompts(3, 4), prompts(1), guidance_scale=2.5)  # type: ignore[arg-type]
    guided = denoise(latents, 7)
    assert guided[0].unique().tolist() == [1 + 2.5 * (3 - 1)]
    assert guided[1].unique().tolist() == [1 + 2.5 * (4 - 1)]
    assert base.asked == [(7, 1.0, [1, 1, 3, 4])], "in one batch"


def test_a_guidance_scale_of_one_asks_for_the_prompt_alone() -> None:
    base, latents = StandIn(), torch.zeros(2, *SHAPE)
    denoise = guided_predictor(base, prompts(3, 4), prompts(1), guidance_scale=1)  # type: ignore[arg-type]
    assert denoise(latents, 7)[:, 0, 0, 0, 0].tolist() == [3, 4]
    assert base.asked == [(7, 1.0, [3, 4])]


@pytest.mark.parametrize("noise_prior", [0, 0.3, 1])
def test_the_start_noise(noise_prior: float) -> None:
    """A prediction of zero leaves the start noise, scaled by what the schedule's ends are."""
    base = StandIn()
    inversion = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    sampled = sample(base, settings(noise_prior=noise_prior), inversion)
    start = noise_prior**0.5 * inversion + (1 - noise_prior) ** 0.5 * video_noise([5, 6], SHAPE)
    assert isinstance(base.schedule, NoiseSchedule)
    abar = base.schedule.alphas_cumprod
    expected = start * (base.schedule.final_alpha_cumprod / abar[TIMESTEPS[0]]).sqrt()
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=1e-6)


def test_inversion_has_the_lora_off_and_walks_up() -> None:
    base, latents = StandIn(), torch.ones(1, *SHAPE)
    noise = invert_reference(base, latents, prompts(0), num_steps=5)  # type: ignore[arg-type]
    assert base.asked == [(timestep, 0, [0]) for timestep in reversed(TIMESTEPS)]
    assert isinstance(base.schedule, NoiseSchedule)
    abar = base.schedule.alphas_cumprod
    expected = latents * (abar[TIMESTEPS[0]] / base.schedule.final_alpha_cumprod).sqrt()
    torch.testing.assert_close(noise.noise, expected, rtol=1e-5, atol=1e-6)
    assert noise.deviations == (), "as published, it is not scaled"


def test_a_flow_s_inversion_is_repeated_and_scaled_to_unit_variance() -> None:
    base = StandIn()
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    base.schedule = FlowSchedule.from_config(config)
    generator = torch.Generator().manual_seed(1)
    latents = 0.4 * torch.randn(1, *SHAPE, generator=generator)
    inverted = invert_reference(base, latents, prompts(0), num_steps=5)  # type: ignore[arg-type]
    assert len(base.asked) == 2 * 5
    # A velocity of zero leaves the latents as they are.
    deviations = latents.std(dim=(0, 2, 3, 4))
    assert inverted.deviations == pytest.approx(deviations.tolist(), rel=1e-5)
    torch.testing.assert_close(inverted.noise, latents / deviations.reshape(-1, 1, 1, 1))


def test_inversion_repeats_each_step_when_asked() -> None:
    base, latents = StandIn(), torch.ones(1, *SHAPE)
    invert_reference(base, latents, prompts(0), num_steps=5, iterations=1)  # type: ignore[arg-type]
    asked = [timestep for timestep, _, _ in base.asked]
    assert asked == [timestep for timestep in reversed(TIMESTEPS) for _ in range(2)]
