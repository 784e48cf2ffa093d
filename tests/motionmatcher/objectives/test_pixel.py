"""Objectives on the prediction itself, by hand-computed values."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from objective_examples import SETTINGS, base_model, batch
from torch import Tensor

from motionmatcher.bases.layout import find_base
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.objectives.objective import Batch, TrainingLoss
from motionmatcher.objectives.pixel import (
    VMC,
    Denoising,
    FrameDifference,
    MotionDirector,
    PixelObjective,
)
from motionmatcher.random_streams import generator
from testbed.random_base import SCHEDULER_CONFIG


def with_anchor(frame: int) -> Batch:
    return replace(batch(), extra={"anchor_frame": frame})


def video(*frames: list[float]) -> Tensor:
    """One value a pixel: (1, 1, F, 1, w)."""
    return torch.tensor(frames)[None, None, :, None]


# Two pixels over three frames; the differences are [[1, 0], [2, 2]] and [[1, 1], [0, -2]].
PREDICTION = video([0.0, 0.0], [1.0, 0.0], [3.0, 2.0])
TRUTH = video([0.0, 1.0], [1.0, 2.0], [1.0, 0.0])


def parts(loss: TrainingLoss) -> dict[str, float]:
    return {name: value.item() for name, value in loss.parts.items()}


def test_denoising_loss() -> None:
    assert parts(Denoising().compare(PREDICTION, TRUTH, batch())) == {
        "denoising": pytest.approx((0 + 1 + 0 + 4 + 4 + 4) / 6)
    }


def test_frame_difference_loss() -> None:
    assert parts(FrameDifference().compare(PREDICTION, TRUTH, batch())) == {
        "frame_difference": (0 + 1 + 4 + 16) / 4
    }


def test_a_constant_look_costs_no_frame_difference() -> None:
    assert FrameDifference().compare(PREDICTION + 7, PREDICTION, batch()).total.item() == 0


def test_vmc_loss() -> None:
    # Along frames: the left pixel's (1, 2) against (1, 0), the right one's (0, 2) against (1, 2).
    left, right = 1 / 5**0.5, 4 / (2 * 5**0.5)
    assert parts(VMC().compare(PREDICTION, TRUTH, batch())) == {
        "denoising": pytest.approx(13 / 6),
        "frame_direction": pytest.approx(1 - (left + right) / 2),
    }


def test_vmc_does_not_see_a_movement_turned_round() -> None:
    assert VMC().compare(-TRUTH, TRUTH, batch()).parts["frame_direction"].item() == pytest.approx(
        0, abs=1e-6
    )


def test_debiased_loss() -> None:
    # The error is [[0, -1], [0, -2], [2, 2]]; less the anchor's, frame 2: sqrt(2) e - [2, 2].
    root = 2**0.5
    debiased = [-2, -root - 2, -2, -2 * root - 2, 2 * root - 2, 2 * root - 2]
    assert parts(MotionDirector().compare(PREDICTION, TRUTH, with_anchor(2))) == {
        "denoising": pytest.approx(13 / 6),
        "debiased": pytest.approx(sum(value**2 for value in debiased) / 6),
    }


@pytest.mark.parametrize("objective_class", [Denoising, FrameDifference, VMC, MotionDirector])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_pixel_objectives_compare_the_prediction_with_the_truth(
    unet: MotionUNet, objective_class: type[PixelObjective], prediction_type: str
) -> None:
    drawn = with_anchor(2)
    latents, noise, timesteps = drawn.latents, drawn.noise, drawn.timesteps
    base = base_model(unet, prediction_type)
    objective = objective_class()
    objective.prepare(base, SETTINGS, (4, 6))
    loss = objective.loss(drawn)

    abar = DDIMScheduler.from_config(SCHEDULER_CONFIG).alphas_cumprod.double()[timesteps]
    a, s = (root.reshape(-1, 1, 1, 1, 1) for root in (abar.sqrt(), (1 - abar).sqrt()))
    with torch.no_grad():
        noisy = a * latents + s * noise
        prediction = unet(noisy, timesteps, drawn.text_states).sample
    truth = noise if prediction_type == "epsilon" else a * noise - s * latents
    expected = objective.compare(prediction, truth, drawn)
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=1e-6)
    assert loss.parts.keys() == expected.parts.keys()
    loss.total.backward()
    assert all(weight.grad is not None for weight in unet.lora_parameters().values())
    unet.zero_grad(set_to_none=True)


def test_the_anchor_frame_has_a_stream_of_its_own() -> None:
    objective = MotionDirector()
    objective.prepare(base_model(None, "epsilon"), replace(SETTINGS, seed=3), (5, 6))
    latents, states = torch.zeros(1, 4, 3, 5, 6), torch.zeros(1, 7, 32)
    drawn = objective.draw(latents, states, 7, 1, 2)
    anchor = torch.randint(3, (), generator=generator(3, "anchor frame", 7, 1, 2))
    assert drawn.extra == {"anchor_frame": anchor}
    anchors = {objective.draw(latents, states, step).extra["anchor_frame"] for step in range(40)}
    assert anchors == {0, 1, 2}


@pytest.mark.parametrize("objective_class", [FrameDifference, VMC])
def test_one_frame_has_no_differences(
    objective_class: type[PixelObjective], base_folder: Path
) -> None:
    objective, layout = objective_class(), find_base(str(base_folder))
    message = f"objective: {objective.name} needs train_data.n_sample_frames of 2 or more, not 1"
    with pytest.raises(UserError, match=message):
        objective.check(with_frames(1), layout)
    assert objective.check(with_frames(2), layout) == {}
    assert Denoising().check(with_frames(1), layout) == {}


def with_frames(number: int) -> TrainSettings:
    return replace(SETTINGS, train_data=replace(SETTINGS.train_data, n_sample_frames=number))
