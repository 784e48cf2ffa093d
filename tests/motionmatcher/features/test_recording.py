"""The recorder sees what fused attention computes, and leaves no trace."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from motionmatcher.features.recording import AttentionRecorder

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = "down_blocks.1.temp_attentions.0.transformer_blocks.0.attn1"
FRAMES, HEIGHT, WIDTH, TOKENS = 3, 6, 4, 7


@pytest.fixture(scope="module")
def unet(base_folder: Path) -> UNet3DConditionModel:
    return UNet3DConditionModel.from_pretrained(base_folder, subfolder="unet").eval()


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, FRAMES, HEIGHT, WIDTH, generator=generator)
    return sample, torch.tensor([700, 3]), torch.randn(2, TOKENS, 32, generator=generator)


def processors(unet: UNet3DConditionModel) -> dict[str, object]:
    return {
        name: module.processor
        for name, module in unet.named_modules()
        if isinstance(module, Attention)
    }


@torch.no_grad()
def test_recording_changes_the_output_no_more_than_rounding(
    unet: UNet3DConditionModel, inputs: tuple[Tensor, ...]
) -> None:
    exact_unet = deepcopy(unet).double()
    sample, timesteps, text_states = inputs
    exact_inputs = sample.double(), timesteps, text_states.double()
    plain = exact_unet(*exact_inputs).sample
    recorder = AttentionRecorder(list(processors(exact_unet)))
    with recorder.attached(exact_unet):
        recorded = exact_unet(*exact_inputs).sample
    assert set(recorder.maps) == set(processors(unet))
    torch.testing.assert_close(recorded, plain, rtol=0, atol=1e-13)


@torch.no_grad()
def test_maps_are_probabilities_of_the_right_shape(
    unet: UNet3DConditionModel, inputs: tuple[Tensor, ...]
) -> None:
    recorder = AttentionRecorder([CROSS, TEMPORAL])
    with recorder.attached(unet):
        unet(*inputs)
    assert recorder.maps[CROSS].shape == (2 * FRAMES, HEIGHT * WIDTH, TOKENS)
    assert recorder.maps[TEMPORAL].shape == (2 * HEIGHT * WIDTH // 4, FRAMES, FRAMES)
    for probabilities in recorder.maps.values():
        assert probabilities.min() >= 0
        assert probabilities.std() > 0, "uniform maps would sum to 1 as well"
        sums = probabilities.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_map_of_one_layer_by_hand() -> None:
    torch.manual_seed(0)
    layer = Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4)
    hidden, context = torch.randn(3, 5, 8), torch.randn(3, 7, 6)
    expected = layer(hidden, encoder_hidden_states=context)
    holder = torch.nn.ModuleDict({"layer": layer})
    recorder = AttentionRecorder(["layer"])
    with recorder.attached(holder):
        output = layer(hidden, encoder_hidden_states=context)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    mean = torch.zeros(3, 5, 7)
    for head in range(2):
        width = slice(4 * head, 4 * head + 4)
        query = (hidden @ layer.to_q.weight.T)[..., width]
        key = (context @ layer.to_k.weight.T)[..., width]
        mean += torch.softmax(query @ key.transpose(1, 2) / 4**0.5, dim=-1) / 2
    torch.testing.assert_close(recorder.maps["layer"], mean, rtol=0, atol=1e-6)


def test_only_the_chosen_modules_are_recorded(
    unet: UNet3DConditionModel, inputs: tuple[Tensor, ...]
) -> None:
    found = processors(unet)
    recorder = AttentionRecorder([CROSS])
    with recorder.attached(unet), torch.no_grad():
        unet(*inputs)
        now = processors(unet)
        changed = [name for name in found if now[name] is not found[name]]
    assert changed == [CROSS] == list(recorder.maps)
    assert all(isinstance(processor, AttnProcessor2_0) for processor in found.values())


def test_the_processors_come_back(unet: UNet3DConditionModel) -> None:
    found = processors(unet)
    with AttentionRecorder([CROSS, TEMPORAL]).attached(unet):
        assert processors(unet) != found
    assert processors(unet) == found
    recorder = AttentionRecorder([CROSS, TEMPORAL])
    with pytest.raises(RuntimeError, match="half way"), recorder.attached(unet):
        raise RuntimeError("half way")
    assert processors(unet) == found


def test_recorders_may_be_nested(unet: UNet3DConditionModel, inputs: tuple[Tensor, ...]) -> None:
    found = processors(unet)
    outer = AttentionRecorder([CROSS, TEMPORAL])
    with outer.attached(unet), torch.no_grad():
        unet(*inputs)
        first = dict(outer.maps)
        inner = outer.blank()
        assert (inner.module_names, inner.maps) == (outer.module_names, {})
        with inner.attached(unet):
            unet(inputs[0] + 1, *inputs[1:])
        assert all(outer.maps[name] is first[name] for name in first)
        assert not torch.equal(inner.maps[CROSS], outer.maps[CROSS])
    assert processors(unet) == found


def test_gradients_flow_through_the_maps() -> None:
    torch.manual_seed(0)
    layer = Attention(query_dim=8, heads=2, dim_head=4)
    recorder = AttentionRecorder(["layer"])
    hidden = torch.randn(1, 5, 8, requires_grad=True)
    with recorder.attached(torch.nn.ModuleDict({"layer": layer})):
        layer(hidden)
    recorder.maps["layer"].square().sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().max() > 0
