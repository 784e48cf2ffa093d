"""Losses by hand-computed values."""

import pytest
import torch
from torch import Tensor

from motionmatcher.features.maps import MotionFeatures
from motionmatcher.objectives.losses import (
    TrainingLoss,
    debiased_loss,
    denoising_loss,
    frame_difference_loss,
    match_features,
    vmc_loss,
    weigh_change,
)


def features(cross: list[float], temporal: list[float]) -> MotionFeatures:
    return MotionFeatures(
        cross_attention=torch.tensor(cross).reshape(1, 1, 1, 2, -1),
        temporal_attention=torch.tensor(temporal).reshape(1, -1, 1, 1),
    )


def test_hand_computed_loss() -> None:
    predicted = features([1.0, 2.0, 3.0, 4.0], [0.5, 1.0])
    target = features([1.0, 0.0, 3.0, 1.0], [0.0, 1.0])
    loss = match_features(predicted, target, spatial_weight=8, temporal_weight=40)
    assert loss.parts["spatial"].item() == 8 * (4 + 9) / 4
    assert loss.parts["temporal"].item() == 40 * 0.25 / 2
    assert loss.total.item() == 26 + 5


def test_hand_computed_gradient() -> None:
    cross = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 2, 2).requires_grad_()
    temporal = torch.tensor([0.5, 1.0]).reshape(1, 2, 1, 1).requires_grad_()
    target = features([1.0, 0.0, 3.0, 1.0], [0.0, 1.0])
    match_features(MotionFeatures(cross, temporal), target, 8, 40).total.backward()
    assert cross.grad is not None
    assert temporal.grad is not None
    assert cross.grad.flatten().tolist() == [0.0, 8 * 2 * 2 / 4, 0.0, 8 * 2 * 3 / 4]
    assert temporal.grad.flatten().tolist() == [40 * 2 * 0.5 / 2, 0.0]


def test_equal_features_cost_nothing() -> None:
    same = features([1.0, 2.0], [0.5, 1.0])
    assert match_features(same, same, 2000, 2000).total.item() == 0


def test_a_change_weighs_what_the_features_would() -> None:
    predicted = features([1.0, 2.0, 3.0, 4.0], [0.5, 1.0])
    target = features([1.0, 0.0, 3.0, 1.0], [0.0, 1.0])
    loss = weigh_change(features([0.0, 2.0, 0.0, 3.0], [0.5, 0.0]), 8, 40)
    assert loss.parts == match_features(predicted, target, 8, 40).parts


def video(*frames: list[float]) -> Tensor:
    """One value a pixel: (1, 1, F, 1, w)."""
    return torch.tensor(frames)[None, None, :, None]


# Two pixels over three frames; the differences are [[1, 0], [2, 2]] and [[1, 1], [0, -2]].
PREDICTION = video([0.0, 0.0], [1.0, 0.0], [3.0, 2.0])
TRUTH = video([0.0, 1.0], [1.0, 2.0], [1.0, 0.0])


def parts(loss: TrainingLoss) -> dict[str, float]:
    return {name: value.item() for name, value in loss.parts.items()}


def test_denoising_loss() -> None:
    assert parts(denoising_loss(PREDICTION, TRUTH)) == {
        "denoising": pytest.approx((0 + 1 + 0 + 4 + 4 + 4) / 6)
    }


def test_frame_difference_loss() -> None:
    assert parts(frame_difference_loss(PREDICTION, TRUTH)) == {
        "frame_difference": (0 + 1 + 4 + 16) / 4
    }


def test_a_constant_look_costs_no_frame_difference() -> None:
    assert frame_difference_loss(PREDICTION + 7, PREDICTION).total.item() == 0


def test_vmc_loss() -> None:
    # Along frames: the left pixel's (1, 2) against (1, 0), the right one's (0, 2) against (1, 2).
    left, right = 1 / 5**0.5, 4 / (2 * 5**0.5)
    assert parts(vmc_loss(PREDICTION, TRUTH)) == {
        "denoising": pytest.approx(13 / 6),
        "frame_direction": pytest.approx(1 - (left + right) / 2),
    }


def test_vmc_does_not_see_a_movement_turned_round() -> None:
    assert vmc_loss(-TRUTH, TRUTH).parts["frame_direction"].item() == pytest.approx(0, abs=1e-6)


def test_debiased_loss() -> None:
    # The error is [[0, -1], [0, -2], [2, 2]]; less the anchor's, frame 2: sqrt(2) e - [2, 2].
    root = 2**0.5
    debiased = [-2, -root - 2, -2, -2 * root - 2, 2 * root - 2, 2 * root - 2]
    assert parts(debiased_loss(PREDICTION, TRUTH, anchor_frame=2)) == {
        "denoising": pytest.approx(13 / 6),
        "debiased": pytest.approx(sum(value**2 for value in debiased) / 6),
    }
