"""Watching attention changes nothing, sees queries and keys as they are multiplied, and ends."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTXVideoTransformer3DModel, UNet3DConditionModel
from small_models import small_wan
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from motionmatcher.errors import UserError
from motionmatcher.features.attention_maps import probabilities
from motionmatcher.features.dual_attention import (
    Attention,
    DualAttention,
    dual_attention_by,
    explicit_attention,
    fused_attention,
)
from motionmatcher.features.recording import AttentionRecorder
from motionmatcher.features.watching import AttentionWatcher

FRAMES, HEIGHT, WIDTH = 3, 4, 6


def heads_mean(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    return probabilities(query, key, mask).mean(1)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def wan() -> tuple[nn.Module, dict[str, Any], list[str]]:
    inputs = {
        "hidden_states": noise(2, 16, FRAMES, HEIGHT, WIDTH),
        "timestep": torch.tensor([900.0, 900.0]),
        "encoder_hidden_states": noise(2, 7, 32),
    }
    return small_wan(0.3), inputs, ["blocks.1.attn1", "blocks.1.attn2"]


def ltx() -> tuple[nn.Module, dict[str, Any], list[str]]:
    network = LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=8,
        num_layers=2,
    )
    inputs = {
        "hidden_states": noise(2, FRAMES * HEIGHT * WIDTH, 4),
        "encoder_hidden_states": noise(2, 7, 8),
        "timestep": torch.tensor([900, 900]),
        "encoder_attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0]] * 2),
        "num_frames": FRAMES,
        "height": HEIGHT,
        "width": WIDTH,
    }
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    return network.eval(), inputs, ["transformer_blocks.1.attn1", "transformer_blocks.1.attn2"]


def unet(base_folder: Path) -> tuple[nn.Module, dict[str, Any], list[str]]:
    network = UNet3DConditionModel.from_pretrained(base_folder, subfolder="unet").eval()
    inputs = {
        "sample": noise(2, 4, FRAMES, HEIGHT, WIDTH),
        "timestep": 700,
        "encoder_hidden_states": noise(2, 7, 32),
    }
    modules = [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2",
        "down_blocks.1.temp_attentions.0.transformer_blocks.0.attn1",
    ]
    return network, inputs, modules


@pytest.fixture(params=["wan", "ltx", "unet"])
def case(
    request: pytest.FixtureRequest, base_folder: Path
) -> tuple[nn.Module, dict[str, Any], list[str]]:
    return (
        unet(base_folder) if request.param == "unet" else {"wan": wan, "ltx": ltx}[request.param]()
    )


@torch.no_grad()
def test_the_output_is_equal_to_the_bit(case: tuple[nn.Module, dict[str, Any], list[str]]) -> None:
    network, inputs, modules = case
    plain = network(**inputs).sample
    assert plain.std() > 1e-3
    watcher = AttentionWatcher(dict.fromkeys(modules, heads_mean))
    with watcher.attached(network):
        watched = network(**inputs).sample
    assert torch.equal(watched, plain)
    assert list(watcher.maps) == modules
    for maps in watcher.maps.values():
        sums = maps.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_unet_s_maps_are_the_recorder_s(base_folder: Path) -> None:
    network, inputs, modules = unet(base_folder)
    watcher = AttentionWatcher(dict.fromkeys(modules, heads_mean))
    recorder = AttentionRecorder(modules)
    with watcher.attached(network):
        network(**inputs)
    with recorder.attached(network):
        network(**inputs)
    for name in modules:
        torch.testing.assert_close(watcher.maps[name], recorder.maps[name], rtol=0, atol=1e-6)


@torch.no_grad()
def test_wan_s_queries_and_keys_are_after_norm_and_rotation() -> None:
    """The values that they weigh give what the module gives."""
    network, inputs, (name, _) = wan()
    attention: Any = network.get_submodule(name)
    found: dict[str, Tensor] = {}

    def gather(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
        found.update(query=query, key=key)
        return query

    hook = attention.register_forward_hook(
        lambda module, args, output: found.update(hidden=args[0], output=output)
    )
    with AttentionWatcher({name: gather}).attached(network):
        network(**inputs)
    hook.remove()
    query, key = found["query"], found["key"]
    tokens = FRAMES * (HEIGHT // 2) * (WIDTH // 2)
    assert query.shape == key.shape == (2, 2, tokens, 12)
    value = attention.to_v(found["hidden"]).unflatten(2, (2, 12)).transpose(1, 2)
    attended = (probabilities(query, key) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.to_out[0](attended), found["output"], rtol=0, atol=1e-5)
    plain = attention.norm_q(attention.to_q(found["hidden"])).unflatten(2, (2, 12)).transpose(1, 2)
    torch.testing.assert_close(query.norm(dim=-1), plain.norm(dim=-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(query[:, :, 0], plain[:, :, 0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(query[:, :, 1:], plain[:, :, 1:], atol=0.1), "rotated"


@torch.no_grad()
def test_ltx_s_mask_comes_with_its_queries() -> None:
    network, inputs, (_, cross) = ltx()
    watcher = AttentionWatcher({cross: heads_mean})
    with watcher.attached(network):
        network(**inputs)
    assert watcher.maps[cross][..., 5:].abs().max() < 1e-6
    assert watcher.maps[cross][..., :5].min() > 0


def test_another_scale_is_in_the_queries() -> None:
    class Scaled(nn.Module):
        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, key, key, scale=0.7)

    network = nn.ModuleDict({"layer": Scaled()})
    query, key = noise(2, 3, 5, 4), noise(2, 3, 6, 4) + 1
    watcher = AttentionWatcher({"layer": lambda query, key, mask: probabilities(query, key)})
    with watcher.attached(network):
        output = network["layer"](query, key)
    assert torch.equal(output, F.scaled_dot_product_attention(query, key, key, scale=0.7))
    torch.testing.assert_close(watcher.maps["layer"] @ key, output, rtol=0, atol=1e-6)


def test_what_was_there_comes_back() -> None:
    network, _, modules = wan()
    attention = network.get_submodule(modules[0])
    with AttentionWatcher(dict.fromkeys(modules, heads_mean)).attached(network):
        assert "forward" in vars(attention)
    assert "forward" not in vars(attention)
    own = attention.forward
    attention.forward = own
    watcher = AttentionWatcher(dict.fromkeys(modules, heads_mean))
    with pytest.raises(RuntimeError, match="half way"), watcher.attached(network):
        raise RuntimeError("half way")
    assert vars(attention)["forward"] is own


@torch.no_grad()
def test_the_inner_of_nested_watchers_alone_sees_the_pass() -> None:
    network, inputs, modules = wan()
    outer = AttentionWatcher(dict.fromkeys(modules, heads_mean))
    with outer.attached(network):
        network(**inputs)
        first = dict(outer.maps)
        inner = outer.blank()
        assert (inner.gathers, inner.maps) == (outer.gathers, {})
        with inner.attached(network):
            network(**{**inputs, "hidden_states": inputs["hidden_states"] + 1})
        assert all(outer.maps[name] is first[name] for name in modules)
        assert not torch.equal(inner.maps[modules[0]], outer.maps[modules[0]])
        network(**inputs)
        assert outer.maps[modules[0]] is not first[modules[0]], "the outer one watches again"


def test_gradients_flow_through_the_maps() -> None:
    network, inputs, modules = wan()
    latents = inputs["hidden_states"].requires_grad_()
    watcher = AttentionWatcher(dict.fromkeys(modules, heads_mean))
    with watcher.attached(network):
        network(**inputs)
    loss = torch.stack([maps.square().sum() for maps in watcher.maps.values()]).sum()
    (gradient,) = torch.autograd.grad(loss, latents)
    assert gradient.abs().max() > 0


def test_recomputation_in_backward_gives_the_same_gradients_to_the_bit() -> None:
    """What is computed again is watched by a blank watcher, so that it is the same computation."""
    gradients: list[Tensor] = []
    for recompute in (False, True):
        network, inputs, modules = wan()
        latents = inputs["hidden_states"].requires_grad_()
        watcher = AttentionWatcher(dict.fromkeys(modules, heads_mean))
        watched = partial(watcher.blank().attached, network)
        for block in network.get_submodule("blocks").children() if recompute else ():
            block.forward = partial(
                checkpoint,
                block.forward,
                use_reentrant=False,
                context_fn=lambda watched=watched: (nullcontext(), watched()),
            )
        with watcher.attached(network):
            network(**inputs)
        first = dict(watcher.maps)
        loss = torch.stack([maps.square().sum() for maps in first.values()]).sum()
        gradients += torch.autograd.grad(loss, latents)
        assert all(watcher.maps[name] is maps for name, maps in first.items())
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)


def test_attention_by_other_means_is_refused() -> None:
    network = nn.ModuleDict({"layer": nn.Linear(4, 4)})
    watcher = AttentionWatcher({"layer": heads_mean})
    with watcher.attached(network), pytest.raises(UserError, match=r"layer.* 0 calls.*BACKEND"):
        network["layer"](noise(2, 4))


@pytest.mark.parametrize("attention", [explicit_attention, fused_attention])
def test_dual_numbers_go_through_wan_and_its_maps(attention: Attention) -> None:
    """Tangents of maps and output are their change over a small step."""
    network, inputs, modules = wan()
    latents, step = inputs["hidden_states"], noise(2, 16, FRAMES, HEIGHT, WIDTH).flip(0)
    watcher = AttentionWatcher(dict.fromkeys(modules, heads_mean))

    def run(point: Tensor) -> dict[str, Tensor]:
        output = network(**{**inputs, "hidden_states": point}).sample
        return {**watcher.maps, "output": output}

    size = 1e-2
    with torch.no_grad(), watcher.attached(network):
        with forward_ad.dual_level(), DualAttention(), dual_attention_by(attention):
            duals = run(forward_ad.make_dual(latents, step))
            tangents = {name: forward_ad.unpack_dual(maps).tangent for name, maps in duals.items()}
        ahead, behind = run(latents + size * step), run(latents - size * step)
    for name, tangent in tangents.items():
        change = (ahead[name] - behind[name]) / (2 * size)
        assert (tangent - change).norm() < 0.01 * change.norm(), name
