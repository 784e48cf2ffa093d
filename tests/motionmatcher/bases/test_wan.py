"""Wan's transformer as student and frozen base: what diffusers computes, and the maps on the way."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from small_models import small_wan
from torch import Tensor

from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.bases.denoiser import PassMode
from motionmatcher.bases.lora import add_lora
from motionmatcher.bases.wan import MotionWan
from motionmatcher.config.settings import TEMPORAL_MAPS, MotionExtractorSettings
from motionmatcher.errors import UserError
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.maps import MotionFeatures
from testbed.random_base import WAN_FULL_SIZE, WAN_SMALL

FRAMES, HEIGHT, WIDTH, TOKENS = 3, 4, 6, 7
SIZE = HEIGHT, WIDTH
SETTINGS = MotionExtractorSettings(blocks=[0, 1])
Inputs = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def network() -> MotionWan:
    """With a LoRA that acts."""
    network = small_wan(0.2)
    add_lora(network, 2, ["attention"])
    generator = torch.Generator().manual_seed(3)
    for weight in network.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    network.train(False)
    return network


@pytest.fixture
def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 16, FRAMES, HEIGHT, WIDTH, generator=generator)
    return latents, torch.tensor([900.0, 750.0]), torch.randn(2, TOKENS, 32, generator=generator)


def read(network: MotionWan, inputs: Inputs, **settings: Any) -> MotionFeatures:
    changed = replace(SETTINGS, **settings)
    layers = network.choose_layers(network.config, SIZE, changed)
    return network.read_maps(*inputs, layers, full_precision=True)


@torch.no_grad()
def test_it_predicts_what_diffusers_does(inputs: Inputs) -> None:
    ours = small_wan(0.2)
    plain = WanTransformer3DModel(**WAN_SMALL["transformer"])
    plain.load_state_dict(ours.state_dict())
    latents, timesteps, states = inputs
    assert torch.equal(ours.predict(*inputs), plain(latents, timesteps, states).sample)
    alike = torch.full((2,), 640.5)
    expected = plain(latents, alike, states).sample
    assert torch.equal(ours.predict(latents, 640.5, states), expected)


@torch.no_grad()
def test_half_precision_is_computed_as_diffusers_does(inputs: Inputs) -> None:
    """Without autocast, which would compute the time embedding in bf16."""
    ours = small_wan(0.2).to(torch.bfloat16)
    for block in ours.blocks:
        block.scale_shift_table.data = block.scale_shift_table.data.float()
    ours.condition_embedder.time_embedder.float()
    half = [each.to(torch.bfloat16) for each in (inputs[0], inputs[2])]
    expected = ours(half[0], inputs[1], half[1]).sample
    prediction = ours.predict(*inputs)
    assert prediction.dtype == torch.float32
    assert torch.equal(prediction, expected.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(ours(half[0], inputs[1], half[1]).sample, expected)


@torch.no_grad()
def test_reading_maps_changes_nothing_and_stops_early(
    network: MotionWan, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = network.predict(*inputs)
    maps = read(network, inputs)
    assert torch.equal(network.predict(*inputs), plain)
    assert len(network.blocks) == 3

    # The same maps on the way of a whole pass of the base, which the LoRA is off for.
    monkeypatch.setattr(
        MotionWan,
        "run_blocks",
        lambda self, latents, times, states, _: self(latents, times, states),
    )
    whole = read(network, inputs)
    assert torch.equal(whole.cross_attention, maps.cross_attention)
    assert torch.equal(whole.temporal_attention, maps.temporal_attention)
    monkeypatch.undo()
    bare = read(small_wan(0.2), inputs)
    assert torch.equal(bare.temporal_attention, maps.temporal_attention)
    assert torch.equal(bare.cross_attention, maps.cross_attention)
    last = network.get_submodule("blocks.2.attn1")
    monkeypatch.setattr(last, "forward", lambda *_: pytest.fail("it ran beyond the last map"))
    read(network, inputs)


@torch.no_grad()
def test_maps_have_the_shapes_and_sums_of_their_kind(network: MotionWan, inputs: Inputs) -> None:
    places = HEIGHT * WIDTH // 4
    shapes = {
        "same_place": (2, places, FRAMES, FRAMES),
        "frame_mass": (2, FRAMES * places, 1, FRAMES),
        "flow": (2, FRAMES * places, FRAMES, 2),
    }
    for kind in TEMPORAL_MAPS:
        maps = read(network, inputs, temporal_map=kind)
        assert maps.cross_attention.shape == (2, FRAMES, HEIGHT // 2, WIDTH // 2, TOKENS)
        torch.testing.assert_close(
            maps.cross_attention.sum(-1), torch.ones(2, FRAMES, HEIGHT // 2, WIDTH // 2)
        )
        assert maps.temporal_attention.shape == shapes[kind]
        if kind != "flow":
            ones = torch.ones(shapes[kind][:-1])
            torch.testing.assert_close(maps.temporal_attention.sum(-1), ones)


@torch.no_grad()
def test_the_prompt_s_own_tokens_alone_are_kept(network: MotionWan, inputs: Inputs) -> None:
    own = MotionExtractor(network, SIZE, SETTINGS, num_own_tokens=3)(*inputs)
    all_tokens = MotionExtractor(network, SIZE, SETTINGS)(*inputs)
    assert torch.equal(own.cross_attention, all_tokens.cross_attention[..., :3])
    assert torch.equal(own.temporal_attention, all_tokens.temporal_attention)


@torch.no_grad()
def test_maps_are_the_mean_over_the_blocks(network: MotionWan, inputs: Inputs) -> None:
    first, second, both = (read(network, inputs, blocks=blocks) for blocks in ([0], [1], [1, 0]))
    assert not torch.allclose(first.temporal_attention, second.temporal_attention, atol=1e-3)
    torch.testing.assert_close(
        both.temporal_attention, (first.temporal_attention + second.temporal_attention) / 2
    )


def gradients(
    network: MotionWan,
    inputs: Inputs,
    mode: str,
    settings: MotionExtractorSettings = SETTINGS,
) -> tuple[Tensor, ...]:
    """Gradients of a loss that goes through the student and then the frozen base's maps."""
    latents, timesteps, states = inputs
    extractor = MotionExtractor(network, SIZE, settings)
    network.train()
    torch.manual_seed(5)
    prediction = network.predict(*inputs)
    if mode == "tangent":
        features = extractor.change(latents, -0.001 * prediction, timesteps, states)
    else:
        features = extractor(latents - 0.001 * prediction, timesteps, states)
    loss = features.cross_attention.square().mean() + features.temporal_attention.square().mean()
    return torch.autograd.grad(loss, list(network.lora_parameters().values()))


@pytest.mark.parametrize("mode", ["difference", "tangent"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputing_layers_changes_no_gradient(
    network: MotionWan, inputs: Inputs, mode: str, dtype: torch.dtype
) -> None:
    for name, weight in network.named_parameters():
        weight.data = weight.data if ".lora_" in name else weight.data.to(dtype)
    plain = gradients(network, inputs, mode)
    network.recompute_in_backward("full")
    again = gradients(network, inputs, mode)
    assert all(gradient.any() for gradient in plain)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # while torch traces
def test_compiled_blocks_compute_the_same(network: MotionWan, inputs: Inputs) -> None:
    network.blocks = network.blocks[:1]  # tracing takes seconds
    first = replace(SETTINGS, blocks=[0])
    plain = gradients(network, inputs, "difference", first)
    network.compile_layers("aot_eager")
    torch._dynamo.utils.counters.clear()
    for _ in range(2):
        compiled = gradients(network, inputs, "difference", first)
        for one, other in zip(plain, compiled, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3 * float(one.abs().max()))
        # The student alone, and once: a watched pass would be traced each time.
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("kind", TEMPORAL_MAPS)
def test_the_change_is_the_maps_derivative(
    network: MotionWan, inputs: Inputs, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wan's own float() calls would keep an fp64 network at fp32's precision.
    monkeypatch.setattr(Tensor, "float", lambda self: self)
    network.double()
    latents, timesteps, states = inputs[0].double(), inputs[1], inputs[2].double()
    settings = replace(SETTINGS, temporal_map=kind)
    extractor = MotionExtractor(network, SIZE, settings)
    generator = torch.Generator().manual_seed(4)
    step = torch.randn(latents.shape, generator=generator, dtype=torch.float64)
    change = extractor.change(latents, step, timesteps, states)
    with torch.no_grad():
        ends = [extractor(latents + sign * 1e-4 * step, timesteps, states) for sign in (1, -1)]
    for name in ("cross_attention", "temporal_attention"):
        later, earlier = (getattr(end, name) for end in ends)
        central = (later - earlier) / 2e-4
        torch.testing.assert_close(getattr(change, name), central, rtol=1e-5, atol=1e-7)


def test_in_bf16_differences_are_worthless_and_tangents_are_not(inputs: Inputs) -> None:
    """Why `tangent` is what transformers are trained with: a step of a thousandth."""
    exact = small_wan(0.2).double()
    half = small_wan(0.2).to(torch.bfloat16)
    latents, timesteps, states = inputs
    step = 0.001 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(4))

    def cosine(change: Tensor, wanted: Tensor) -> float:
        return float(torch.cosine_similarity(change.double().flatten(), wanted.flatten(), dim=0))

    wanted = MotionExtractor(exact, SIZE, SETTINGS).change(
        latents.double(), step.double(), timesteps, states.double()
    )
    tangent = MotionExtractor(half, SIZE, SETTINGS).change(latents, step, timesteps, states)
    layers = half.choose_layers(half.config, SIZE, SETTINGS)
    with torch.no_grad():
        before, after = (
            half.read_maps(point, timesteps, states, layers, full_precision=False)
            for point in (latents, latents + step)
        )
        upcast = [
            half.read_maps(point, timesteps, states, layers, full_precision=True)
            for point in (latents, latents + step)
        ]
    difference = after.temporal_attention - before.temporal_attention
    assert cosine(tangent.temporal_attention, wanted.temporal_attention) > 0.99
    assert cosine(difference, wanted.temporal_attention) < 0.5
    in_fp32 = upcast[1].temporal_attention - upcast[0].temporal_attention
    assert in_fp32.dtype == torch.float32
    assert cosine(in_fp32, wanted.temporal_attention) > 0.99


@torch.no_grad()
def test_in_bf16_the_lora_stays_beside_the_weights(network: MotionWan, inputs: Inputs) -> None:
    """Merging would round some of it away; a small one most of it."""
    half = deepcopy(network)
    for name, weight in half.named_parameters():
        weight.data = weight.data if ".lora_" in name else weight.data.to(torch.bfloat16)
    layer = half.lora_layers()[0]
    values = torch.randn(50, layer.base_layer.in_features).to(torch.bfloat16)
    weight = layer.base_layer.weight
    share = values.double() @ (
        layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    ).T  # fmt: skip
    half.train()
    assert layer.lora_dropout["default"].training
    with half.lora_at(2.0):
        assert layer.get_base_layer().weight is weight
        assert not layer.lora_dropout["default"].training
        assert layer.scaling == {"default": 2.0}
        given = layer(values).double() - layer.base_layer(values).double()
    assert layer.scaling == {"default": 1.0}
    assert layer.lora_dropout["default"].training
    assert half.training
    assert float(torch.cosine_similarity(given.flatten(), 2 * share.flatten(), dim=0)) > 0.999
    with half.lora_at(0):
        off = half.predict(*inputs)
    with half.in_mode(PassMode(lora=False)):
        assert torch.equal(half.predict(*inputs), off)


def test_which_blocks_are_read() -> None:
    config = WAN_FULL_SIZE["transformer"]
    layers = MotionWan.choose_layers(config, (60, 104), MotionExtractorSettings())
    assert layers.temporal_attention == tuple(f"blocks.{block}.attn1" for block in range(10, 15))
    assert layers.cross_attention == tuple(f"blocks.{block}.attn2" for block in range(10, 15))
    assert (layers.last_block, layers.cross_size, layers.temporal_size) == (14, (30, 52), (30, 52))
    for num_blocks, wanted in ((40, range(13, 20)), (6, [2]), (1, [0])):
        chosen = MotionWan.choose_layers(
            {"num_layers": num_blocks}, (4, 4), MotionExtractorSettings()
        )
        assert chosen.temporal_attention == tuple(f"blocks.{block}.attn1" for block in wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": [2, 3]}, "motion_extractor.blocks: there is no block 3: this base has .* 0 to 2"),
        ({"spatial_scale_factor": 2}, "motion_extractor.spatial_scale_factor is for UNets: leave it"),
        ({"temporal_scale_factor": 2}, "motion_extractor.temporal_scale_factor is for UNets: leave"),
    ],
)  # fmt: skip
def test_settings_that_it_has_no_maps_for(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        MotionWan.choose_layers(WAN_SMALL["transformer"], SIZE, MotionExtractorSettings(**settings))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"out_channels": 4}, "out_channels must be in_channels 16, not 4"),
        ({"patch_size": [2, 2, 2]}, r"patch_size must be \[1, p, p\] with p of 1, 2 or 4, not"),
        ({"attention_head_dim": 13}, "attention_head_dim must be even, for positions rotate pairs"),
        ({"qk_norm": "layer_norm"}, "qk_norm must be of rms_norm_across_heads, not 'layer_norm'"),
        ({"image_dim": 1280}, "image_dim must be null: bases that take an image are not supported"),
        ({"added_kv_proj_dim": 64}, "added_kv_proj_dim must be null"),
    ],
)
def test_configs_that_it_cannot_be_built_of(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**dict(small_wan(0.1).config), **values}))
    with pytest.raises(UserError, match=f"^{file}: {message}"):
        MotionWan.check_config(BaseConfig(file, ""))


def test_tokens_and_least_memory_by_hand() -> None:
    config = WAN_FULL_SIZE["transformer"] | {"attention_head_dim": 128}
    shape = 1, 16, 9, 60, 104
    assert MotionWan.num_tokens(config, shape) == 9 * 30 * 52 == 14040
    assert MotionWan.least_values(config, shape) == 14040 * 1536
    assert MotionWan.max_frames(config) == 1024
    assert MotionWan.max_side(config) == 2048
