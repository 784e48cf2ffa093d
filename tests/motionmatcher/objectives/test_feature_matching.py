"""The method's loss: of features one DDIM step later."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from objective_examples import SETTINGS, base_model, batch
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.schedules import NoiseSchedule, add_noise, ddim_step, true_prediction
from motionmatcher.errors import UserError
from motionmatcher.features.maps import MotionFeatures
from motionmatcher.features.recording import AttentionRecorder
from motionmatcher.objectives.feature_matching import FeatureMatching, weigh_change
from testbed.random_base import SCHEDULER_CONFIG

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = [f"down_blocks.1.temp_attentions.0.transformer_blocks.0.attn{i}" for i in (1, 2)]


def matching(base: BaseModel, settings: TrainSettings) -> FeatureMatching:
    objective = FeatureMatching()
    objective.prepare(base, settings, (4, 6))
    return objective


def features(cross: list[float], temporal: list[float]) -> MotionFeatures:
    return MotionFeatures(
        cross_attention=torch.tensor(cross).reshape(1, 1, 1, 2, -1),
        temporal_attention=torch.tensor(temporal).reshape(1, -1, 1, 1),
    )


def test_hand_computed_loss() -> None:
    predicted = features([1.0, 2.0, 3.0, 4.0], [0.5, 1.0])
    target = features([1.0, 0.0, 3.0, 1.0], [0.0, 1.0])
    loss = weigh_change(predicted - target, spatial_weight=8, temporal_weight=40)
    assert loss.parts["spatial"].item() == 8 * (4 + 9) / 4
    assert loss.parts["temporal"].item() == 40 * 0.25 / 2
    assert loss.total.item() == 26 + 5


def test_hand_computed_gradient() -> None:
    cross = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 2, 2).requires_grad_()
    temporal = torch.tensor([0.5, 1.0]).reshape(1, 2, 1, 1).requires_grad_()
    target = features([1.0, 0.0, 3.0, 1.0], [0.0, 1.0])
    weigh_change(MotionFeatures(cross, temporal) - target, 8, 40).total.backward()
    assert cross.grad is not None
    assert temporal.grad is not None
    assert cross.grad.flatten().tolist() == [0.0, 8 * 2 * 2 / 4, 0.0, 8 * 2 * 3 / 4]
    assert temporal.grad.flatten().tolist() == [40 * 2 * 0.5 / 2, 0.0]


def test_equal_features_cost_nothing() -> None:
    same = features([1.0, 2.0], [0.5, 1.0])
    assert weigh_change(same - same, 2000, 2000).total.item() == 0


def test_the_logarithm_weighs_each_video_alike_by_hand() -> None:
    # Mean squares: 2 and 50 of the cross-attention maps, 1/2 and 8 of the temporal ones.
    change = MotionFeatures(
        torch.tensor([[0.0, 2.0], [10.0, 0.0]], requires_grad=True),
        torch.tensor([[1.0, 0.0], [0.0, 4.0]]),
    )
    loss = weigh_change(change, 8, 40, "log")
    assert loss.parts["spatial"].item() == pytest.approx(8 * math.log(2 * 50) / 2)
    assert loss.parts["temporal"].item() == pytest.approx(40 * math.log(8 / 2) / 2)
    loss.total.backward()
    # d log(m) = dm / m, with m = x^2 / 2: 2 / x, for each of two videos.
    found = change.cross_attention.grad
    assert found is not None
    assert found.flatten().tolist() == pytest.approx([0, 8 * 2 / 2 / 2, 8 * 2 / 10 / 2, 0])


def test_relative_is_the_share_of_the_base_s_own_error_by_hand() -> None:
    base = MotionFeatures(torch.tensor([[0.0, 4.0], [10.0, 0.0]]), torch.tensor([[2.0], [4.0]]))
    change = MotionFeatures(torch.tensor([[2.0, 0.0], [0.0, 20.0]]), torch.tensor([[1.0], [0.0]]))
    parts = weigh_change(change, 8, 40, "relative", base).parts
    assert parts["spatial"].item() == pytest.approx(8 * (1 / 4 + 4) / 2)
    assert parts["temporal"].item() == pytest.approx(40 * (1 / 4 + 0) / 2)


@pytest.mark.parametrize("mode", ["difference", "tangent"])
def test_relative_compares_with_the_same_base_without_its_lora(unet: MotionUNet, mode: str) -> None:
    extractor = replace(SETTINGS.motion_extractor, mode=mode)
    squared = replace(SETTINGS, motion_extractor=extractor)
    relative = replace(squared, feature_loss="relative")
    base, drawn = base_model(unet, "epsilon"), batch()
    one = replace(drawn, noise=drawn.noise[:1], latents=drawn.latents[:1])
    one = replace(one, timesteps=drawn.timesteps[:1], text_states=drawn.text_states[:1])
    own = matching(base, squared).loss(one).parts
    found = matching(base, relative).loss(one).parts
    assert all(part.requires_grad for part in found.values())
    with unet.lora_at(0):
        of_base = matching(base, squared).loss(one).parts
    assert own["spatial"].item() != pytest.approx(of_base["spatial"].item(), rel=0.02)
    for name, weight in {"spatial": 3e6, "temporal": 5e6}.items():
        expected = weight * own[name].item() / of_base[name].item()
        assert found[name].item() == pytest.approx(expected, rel=1e-6)


def plain_maps(
    bare: MotionUNet, latents: Tensor, timestep: int, text_states: Tensor
) -> list[Tensor]:
    """Cross-attention and temporal maps of one video by a whole pass of a UNet without a LoRA."""
    recorder = AttentionRecorder([CROSS, *TEMPORAL])
    with recorder.attached(bare):
        bare(latents, timestep, text_states)
    first, second = (recorder.maps[name] for name in TEMPORAL)
    return [recorder.maps[CROSS], (first + second) / 2]


@torch.no_grad()
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_of_a_batch_by_hand(
    unet: MotionUNet, bare: MotionUNet, prediction_type: str
) -> None:
    drawn = batch()
    latents, noise, timesteps = drawn.latents, drawn.noise, drawn.timesteps
    text_states = drawn.text_states
    base = base_model(unet, prediction_type)
    loss = matching(base, SETTINGS).loss(drawn)

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
    expected_spatial = 3e6 * torch.stack(spatial).sum().item() / 2
    expected_temporal = 5e6 * torch.stack(temporal).sum().item() / 2
    assert expected_spatial > 1e-4
    assert expected_temporal > 1e-4
    assert loss.parts["spatial"].item() == pytest.approx(expected_spatial, rel=1e-3)
    assert loss.parts["temporal"].item() == pytest.approx(expected_temporal, rel=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_tangent_mode_weighs_the_change_along_the_same_step(
    unet: MotionUNet, prediction_type: str
) -> None:
    drawn = batch()
    latents, noise, timesteps = drawn.latents, drawn.noise, drawn.timesteps
    text_states = drawn.text_states
    base = base_model(unet, prediction_type)
    tangent = replace(SETTINGS.motion_extractor, mode="tangent")
    settings = replace(SETTINGS, motion_extractor=tangent)
    objective = matching(base, settings)
    (extractor,), loss = objective.extractors, objective.loss(drawn)
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
    drawn = batch()
    latents, noise, timesteps = drawn.latents, drawn.noise, drawn.timesteps
    for prediction_type in ("epsilon", "v_prediction"):
        base = base_model(unet, prediction_type)
        assert isinstance(base.schedule, NoiseSchedule)
        abar = base.schedule.alpha_cumprod(timesteps, noise).double()
        velocity = abar.sqrt() * noise - (1 - abar).sqrt() * latents
        truth = noise if prediction_type == "epsilon" else velocity
        monkeypatch.setattr(base.denoiser, "predict", lambda *inputs, truth=truth: truth)
        loss = matching(base, SETTINGS).loss(drawn)
        assert loss.total.item() < 1e-20


def test_the_target_side_needs_no_gradient(unet: MotionUNet) -> None:
    drawn = batch()
    drawn.noise.requires_grad_()
    objective = matching(base_model(unet, "epsilon"), SETTINGS)
    (extractor,) = objective.extractors
    seen = []

    def watched(*inputs: Tensor) -> MotionFeatures:
        features = extractor(*inputs)
        seen.append(features.cross_attention.requires_grad)
        return features

    objective.extractors = [watched]  # type: ignore[list-item]
    objective.loss(drawn)
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"min_timestep": 3, "num_denoise_steps": 4},
            r"min_timestep 3 is below motion_extractor\.num_denoise_steps 4",
        ),
        (
            {"mode": "tangent", "num_denoise_steps": 6},
            "mode: tangent is right for short steps only: num_denoise_steps must be at most 5, not 6",
        ),
        ({"spatial_loss": 0, "temporal_loss": 0}, "loss_weights: both weights are 0"),
        ({"temporal_scale_factor": 8}, r"motion_extractor\.temporal_scale_factor"),
    ],
)
def test_settings_that_do_not_fit(
    base_folder: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        FeatureMatching().check(changed(**changes), find_base(str(base_folder)))


@pytest.mark.parametrize(
    "changes",
    [
        {"min_timestep": 4, "num_denoise_steps": 4},
        {"mode": "tangent", "num_denoise_steps": 5},
        {"spatial_loss": 0},
    ],
)
def test_settings_at_the_edge(base_folder: Path, changes: dict[str, object]) -> None:
    sizes = FeatureMatching().check(changed(**changes), find_base(str(base_folder)))
    assert sizes == {"cross_attention_map_size": (48, 48), "temporal_attention_map_size": (24, 24)}


def changed(**changes: Any) -> TrainSettings:
    """Change keys, wherever they are."""
    settings = SETTINGS
    for group in ("motion_extractor", "loss_weights"):
        section = getattr(settings, group)
        of_group = {key: value for key, value in changes.items() if hasattr(section, key)}
        settings = replace(settings, **{group: replace(section, **of_group)})
    own = {key: value for key, value in changes.items() if hasattr(settings, key)}
    return replace(settings, **own)
