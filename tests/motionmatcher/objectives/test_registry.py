"""One training step's loss, of features one DDIM step later or of the prediction itself."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.lora import add_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import (
    LossWeights,
    MotionExtractorSettings,
    TrainData,
    TrainSettings,
)
from motionmatcher.diffusion.schedules import NoiseSchedule, add_noise, ddim_step, true_prediction
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.maps import MotionFeatures
from motionmatcher.features.recording import AttentionRecorder
from motionmatcher.objectives.losses import (
    debiased_loss,
    denoising_loss,
    frame_difference_loss,
    vmc_loss,
    weigh_change,
)
from motionmatcher.objectives.registry import Batch, draw_batch, motion_loss, training_loss
from motionmatcher.random_streams import generator
from testbed.random_base import SCHEDULER_CONFIG

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = [f"down_blocks.1.temp_attentions.0.transformer_blocks.0.attn{i}" for i in (1, 2)]
SETTINGS = TrainSettings(
    pretrained_model_path="",
    train_data=TrainData(single_video_path="", single_video_prompt=""),
    motion_extractor=MotionExtractorSettings(
        num_denoise_steps=5, spatial_scale_factor=1, temporal_scale_factor=2
    ),
    loss_weights=LossWeights(spatial_loss=3e6, temporal_loss=5e6),
)


@pytest.fixture(scope="module")
def bare(base_folder: Path) -> MotionUNet:
    return MotionUNet.from_pretrained(base_folder, subfolder="unet").double().eval()


@pytest.fixture(scope="module")
def unet(bare: MotionUNet) -> MotionUNet:
    unet = deepcopy(bare)
    add_lora(unet, 2, ["attention"])
    generator = torch.Generator().manual_seed(0)
    for weight in unet.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.2
    return unet


def base_model(unet: MotionUNet | None, prediction_type: str) -> BaseModel:
    """A base of which the loss needs the denoiser and the schedule only, and a draw the schedule."""
    config = {**SCHEDULER_CONFIG, "prediction_type": prediction_type}
    unread = {"text": None, "codec": None}
    schedule = NoiseSchedule.from_config(config)
    cpu = torch.device("cpu")
    return BaseModel(schedule=schedule, denoiser=unet, device=cpu, fingerprint="", **unread)  # type: ignore[arg-type]


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One reference, two noises at timesteps of their own, one prompt; not square."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 3, 4, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 4, 3, 4, 6, generator=generator, dtype=torch.float64)
    text_states = torch.randn(1, 7, 32, generator=generator, dtype=torch.float64)
    return latents.expand_as(noise), noise, torch.tensor([900, 510]), text_states.expand(2, -1, -1)


def plain_maps(
    bare: MotionUNet, latents: Tensor, timestep: int, text_states: Tensor
) -> list[Tensor]:
    """Cross-attention and temporal maps of one video by a whole pass of a UNet without a LoRA."""
    recorder = AttentionRecorder([CROSS, *TEMPORAL])
    with recorder.attached(bare):
        bare(latents, timestep, text_states)
    return [recorder.maps[CROSS], sum(recorder.maps[name] for name in TEMPORAL) / 2]


@torch.no_grad()
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_of_a_batch_by_hand(
    unet: MotionUNet, bare: MotionUNet, prediction_type: str
) -> None:
    latents, noise, timesteps, text_states = batch()
    base = base_model(unet, prediction_type)
    extractor = MotionExtractor(unet, (4, 6), SETTINGS.motion_extractor)
    loss = motion_loss(base, extractor, latents, noise, timesteps, text_states, SETTINGS)

    abar = DDIMScheduler.from_config(SCHEDULER_CONFIG).alphas_cumprod.double()
    spatial, temporal = [], []
    for eps, t in zip(noise[:, None], timesteps.tolist(), strict=True):
        a, s = abar[t].sqrt(), (1 - abar[t]).sqrt()
        noisy = a * latents + s * eps
        prediction = unet(noisy, t, text_states).sample
        if prediction_type == "epsilon":
            clean, direction = (noisy - s * prediction) / a, prediction
        else:
            clean, direction = a * noisy - s * prediction, a * prediction + s * noisy
        a, s = abar[t - 5].sqrt(), (1 - abar[t - 5]).sqrt()
        maps = plain_maps(bare, a * clean + s * direction, t - 5, text_states)
        target = plain_maps(bare, a * latents + s * eps, t - 5, text_states)
        spatial.append((maps[0] - target[0]).square().mean())
        temporal.append((maps[1] - target[1]).square().mean())
    expected_spatial = 3e6 * sum(spatial).item() / 2
    expected_temporal = 5e6 * sum(temporal).item() / 2
    assert expected_spatial > 1e-4
    assert expected_temporal > 1e-4
    assert loss.parts["spatial"].item() == pytest.approx(expected_spatial, rel=1e-3)
    assert loss.parts["temporal"].item() == pytest.approx(expected_temporal, rel=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_tangent_mode_weighs_the_change_along_the_same_step(
    unet: MotionUNet, prediction_type: str
) -> None:
    latents, noise, timesteps, text_states = batch()
    base = base_model(unet, prediction_type)
    tangent = replace(SETTINGS.motion_extractor, mode="tangent")
    settings = replace(SETTINGS, motion_extractor=tangent)
    extractor = MotionExtractor(unet, (4, 6), tangent)
    loss = motion_loss(base, extractor, latents, noise, timesteps, text_states, settings)
    parameters = list(unet.lora_parameters().values())
    gradients = torch.autograd.grad(loss.total, parameters)

    noisy = add_noise(latents, noise, timesteps, base.schedule)
    truth = true_prediction(latents, noise, timesteps, base.schedule)
    prediction = unet(noisy, timesteps, text_states).sample
    ends = [
        ddim_step(noisy, guess, timesteps, timesteps - 5, base.schedule)
        for guess in (truth, prediction)
    ]
    change = extractor.change(ends[0], ends[1] - ends[0], timesteps - 5, text_states)
    expected = weigh_change(change, 3e6, 5e6)
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=1e-6)
    again = torch.autograd.grad(expected.total, parameters)
    for gradient, expected_gradient in zip(gradients, again, strict=True):
        assert (gradient - expected_gradient).norm() <= 1e-6 * expected_gradient.norm()


@torch.no_grad()
def test_a_perfect_student_has_no_loss(unet: MotionUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    latents, noise, timesteps, text_states = batch()
    for prediction_type in ("epsilon", "v_prediction"):
        base = base_model(unet, prediction_type)
        abar = base.schedule.alpha_cumprod(timesteps, noise).double()
        velocity = abar.sqrt() * noise - (1 - abar).sqrt() * latents
        truth = noise if prediction_type == "epsilon" else velocity
        monkeypatch.setattr(base.denoiser, "predict", lambda *inputs, truth=truth: truth)
        extractor = MotionExtractor(unet, (4, 6), SETTINGS.motion_extractor)
        loss = motion_loss(base, extractor, latents, noise, timesteps, text_states, SETTINGS)
        assert loss.total.item() < 1e-20


def test_the_target_side_needs_no_gradient(unet: MotionUNet) -> None:
    latents, noise, timesteps, text_states = batch()
    noise.requires_grad_()
    base = base_model(unet, "epsilon")
    extractor = MotionExtractor(unet, (4, 6), SETTINGS.motion_extractor)
    seen = []

    def watched(*inputs: Tensor) -> MotionFeatures:
        features = extractor(*inputs)
        seen.append(features.cross_attention.requires_grad)
        return features

    motion_loss(base, watched, latents, noise, timesteps, text_states, SETTINGS)  # type: ignore[arg-type]
    assert seen == [False, True]


@pytest.mark.parametrize("objective", ["denoising", "frame_difference", "vmc", "motiondirector"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_pixel_objectives_compare_the_prediction_with_the_truth(
    unet: MotionUNet, objective: str, prediction_type: str
) -> None:
    latents, noise, timesteps, text_states = batch()
    base = base_model(unet, prediction_type)
    settings = replace(SETTINGS, objective=objective)
    drawn = Batch(noise, timesteps, anchor_frame=2)
    extractor = MotionExtractor(unet, (4, 6), SETTINGS.motion_extractor)
    loss = training_loss(base, extractor, latents, drawn, text_states, settings)

    abar = DDIMScheduler.from_config(SCHEDULER_CONFIG).alphas_cumprod.double()[timesteps]
    a, s = (root.reshape(-1, 1, 1, 1, 1) for root in (abar.sqrt(), (1 - abar).sqrt()))
    with torch.no_grad():
        noisy = a * latents + s * noise
        prediction = unet(noisy, timesteps, text_states.expand(2, -1, -1)).sample
    truth = noise if prediction_type == "epsilon" else a * noise - s * latents
    expected = {
        "denoising": denoising_loss(prediction, truth),
        "frame_difference": frame_difference_loss(prediction, truth),
        "vmc": vmc_loss(prediction, truth),
        "motiondirector": debiased_loss(prediction, truth, 2),
    }[objective]
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=1e-6)
    assert loss.parts.keys() == expected.parts.keys()
    loss.total.backward()
    assert all(weight.grad is not None for weight in unet.lora_parameters().values())
    unet.zero_grad(set_to_none=True)


def test_each_kind_of_draw_has_a_stream_of_its_own() -> None:
    settings = replace(SETTINGS, seed=3, train_batch_size=2, use_offset_noise=True)
    settings = replace(settings, offset_noise_strength=0.1, min_timestep=400)
    drawn = draw_batch(settings, base_model(None, "epsilon"), torch.zeros(1, 4, 3, 5, 6), 7, 1, 2)
    noise = torch.randn(2, 4, 3, 5, 6, generator=generator(3, "noise", 7, 1, 2))
    offsets = torch.randn(2, 4, 3, 1, 1, generator=generator(3, "offset noise", 7, 1, 2))
    timesteps = torch.randint(400, 1000, (2,), generator=generator(3, "timesteps", 7, 1, 2))
    anchor = torch.randint(3, (), generator=generator(3, "anchor frame", 7, 1, 2))
    assert torch.equal(drawn.noise, noise + 0.1 * offsets)
    assert torch.equal(drawn.timesteps, timesteps)
    assert drawn.anchor_frame == anchor


def test_draws_cover_their_range_and_differ_among_steps() -> None:
    settings = replace(SETTINGS, train_batch_size=2, min_timestep=998)
    latents, base = torch.zeros(1, 4, 3, 2, 2), base_model(None, "epsilon")
    batches = [draw_batch(settings, base, latents, step, 0, 0) for step in range(40)]
    assert {drawn.anchor_frame for drawn in batches} == {0, 1, 2}
    timesteps = torch.stack([drawn.timesteps for drawn in batches])
    assert timesteps.unique().tolist() == [998, 999]
    assert (timesteps[:, 0] != timesteps[:, 1]).any(), "each video has its own"
    assert len({drawn.noise.sum().item() for drawn in batches}) == 40
