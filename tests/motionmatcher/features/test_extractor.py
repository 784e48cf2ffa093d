"""`change` is a Jacobian's product, and its gradient the transposed one's."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora import add_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.features import dual_attention
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.maps import MotionFeatures

SHAPE = (1, 4, 3, 4, 6)


class HandMadeExtractor(MotionExtractor):
    """Features `z^2` and `sin z`, with the Jacobians `2 z` and `cos z`."""

    def __init__(self) -> None:
        self.denoiser = Denoiser()

    def _read(self, latents: Tensor, *_: object, **__: object) -> MotionFeatures:
        return MotionFeatures(latents.square(), latents.sin())


def test_the_change_of_a_hand_made_extractor() -> None:
    generator = torch.Generator().manual_seed(0)
    point, step, first, second = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    step.requires_grad_()
    change = HandMadeExtractor().change(point, step, torch.tensor([1]), torch.zeros(1))
    torch.testing.assert_close(change.cross_attention, 2 * point * step, rtol=1e-14, atol=0)
    torch.testing.assert_close(change.temporal_attention, point.cos() * step, rtol=1e-14, atol=0)

    loss = (first * change.cross_attention + second * change.temporal_attention).sum()
    (gradient,) = torch.autograd.grad(loss, step)
    expected = first * 2 * point + second * point.cos()
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=0)


def test_tiny_and_zero_steps_divide_by_nothing() -> None:
    point = torch.ones(2, 3)
    for size in (0.0, 1e-30):
        step = torch.full((2, 3), size, requires_grad=True)
        change = HandMadeExtractor().change(point, step, torch.tensor([1]), torch.zeros(1))
        assert change.cross_attention.tolist() == [[pytest.approx(2 * size)] * 3] * 2
        change.cross_attention.square().sum().backward()
        assert step.grad is not None
        assert torch.isfinite(step.grad).all()


@pytest.fixture(scope="module")
def unet(base_folder: Path) -> MotionUNet:
    unet = MotionUNet.from_pretrained(base_folder, subfolder="unet").double().eval()
    unet.requires_grad_(False)
    add_lora(unet, 2, ["attention", "temporal_conv"])
    generator = torch.Generator().manual_seed(0)
    for weight in unet.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.2
    return unet


@pytest.fixture
def extractor(unet: MotionUNet) -> MotionExtractor:
    settings = MotionExtractorSettings(spatial_scale_factor=1, temporal_scale_factor=2)
    return MotionExtractor(unet, SHAPE[-2:], settings)


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    point, step = torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)
    text_states = torch.randn(1, 7, 32, generator=generator, dtype=torch.float64)
    return point, step.requires_grad_(), torch.tensor([700]), text_states


def test_the_change_is_the_features_derivative(extractor: MotionExtractor) -> None:
    point, step, timesteps, text_states = inputs()
    change = extractor.change(point, step, timesteps, text_states)
    with torch.no_grad():
        after = extractor(point + 1e-5 * step, timesteps, text_states)
        before = extractor(point - 1e-5 * step, timesteps, text_states)
    for kind in ("cross_attention", "temporal_attention"):
        by_differences = (getattr(after, kind) - getattr(before, kind)) / 2e-5
        assert by_differences.abs().max() > 1e-3
        torch.testing.assert_close(getattr(change, kind), by_differences, rtol=1e-5, atol=1e-9)


def test_the_gradient_is_that_of_reverse_mode(extractor: MotionExtractor) -> None:
    point, step, timesteps, text_states = inputs()
    change = extractor.change(point, step, timesteps, text_states)
    (change.cross_attention.square().sum() + change.temporal_attention.sum()).backward()
    leaf = point.clone().requires_grad_()
    features = extractor(leaf, timesteps, text_states)
    cotangents = [2 * change.cross_attention.detach(), torch.ones_like(change.temporal_attention)]
    (expected,) = torch.autograd.grad(
        [features.cross_attention, features.temporal_attention], leaf, cotangents
    )
    assert step.grad is not None
    torch.testing.assert_close(step.grad, expected, rtol=1e-9, atol=1e-12)
    assert all(weight.grad is None for weight in extractor.denoiser.parameters())


def test_checkpointing_changes_no_gradient(unet: MotionUNet, extractor: MotionExtractor) -> None:
    checkpointed = deepcopy(unet)
    checkpointed.enable_gradient_checkpointing()
    settings = MotionExtractorSettings(spatial_scale_factor=1, temporal_scale_factor=2)
    gradients = []
    for one in (extractor, MotionExtractor(checkpointed, SHAPE[-2:], settings)):
        point, step, timesteps, text_states = inputs()
        one.change(point, step, timesteps, text_states).cross_attention.square().sum().backward()
        gradients.append(step.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_dual_attention_in_slices_is_the_same(
    extractor: MotionExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = extractor.change(*inputs())
    monkeypatch.setitem(dual_attention.MAX_PROBABILITIES, "cpu", 700)
    sliced = extractor.change(*inputs())
    torch.testing.assert_close(sliced.cross_attention, whole.cross_attention, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        sliced.temporal_attention, whole.temporal_attention, rtol=1e-10, atol=0
    )
