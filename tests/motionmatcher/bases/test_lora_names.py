"""Adapter files have the effect in other programs that they have here."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline
from diffusers.loaders import lora_pipeline
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from small_models import small_wan
from torch import Tensor

from motionmatcher.bases.lora import (
    ADAPTER_FILE,
    COMFYUI_FILE,
    LoraInfo,
    add_lora,
    load_lora,
    save_lora,
)
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.bases.wan import MotionWan
from motionmatcher.errors import UserError

TARGETS = ("attention", "cross_attention")


@pytest.fixture(scope="module")
def bare() -> MotionWan:
    return small_wan(0.1)


@pytest.fixture(scope="module")
def adapted() -> MotionWan:
    """The same with an adapter, self-attention, cross-attention and feed-forward, that acts."""
    network = small_wan(0.1)
    add_lora(network, 3, TARGETS)
    generator = torch.Generator().manual_seed(1)
    for weight in network.lora_parameters().values():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    network.train(False)
    return network


@pytest.fixture(scope="module")
def folder(adapted: MotionWan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter's files."""
    folder = tmp_path_factory.mktemp("lora")
    save_lora(adapted, folder, LoraInfo(3, TARGETS, base="a base"))
    return folder


@torch.no_grad()
def run(network: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 16, 3, 4, 6, generator=generator)
    text_states = torch.randn(1, 7, 32, generator=generator)
    return network(latents, torch.tensor([700.0]), text_states).sample


def run_with(bare: MotionWan, file: Path) -> Tensor:
    """Run the base with a file that WanPipeline has loaded."""
    network = deepcopy(bare)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline = WanPipeline(None, None, None, scheduler, network)
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    return run(network)


@pytest.mark.parametrize("name", [ADAPTER_FILE, COMFYUI_FILE])
def test_wan_pipeline_computes_the_same_with_either_file(
    bare: MotionWan, adapted: MotionWan, folder: Path, name: str
) -> None:
    expected = run(adapted)
    assert not torch.allclose(expected, run(bare), atol=1e-2)
    # diffusers adds the LoRA's share by peft's own operations, in another order.
    torch.testing.assert_close(run_with(bare, folder / name), expected, rtol=1e-5, atol=1e-5)


def test_without_the_prefix_wan_pipeline_changes_nothing(
    bare: MotionWan, adapted: MotionWan, tmp_path: Path
) -> None:
    """The trap that the prefix is for."""
    tensors = get_peft_model_state_dict(adapted)
    save_file({name: each.contiguous() for name, each in tensors.items()}, tmp_path / ADAPTER_FILE)
    assert torch.equal(run_with(bare, tmp_path / ADAPTER_FILE), run(bare))


def test_our_own_file_comes_back(adapted: MotionWan, folder: Path) -> None:
    fresh = small_wan(0.1)
    info = load_lora(fresh, folder)
    assert (info.rank, info.targets, info.base) == (3, TARGETS, "a base")
    fresh.train(False)
    assert torch.equal(run(fresh), run(adapted))


def test_diffusers_converter_reads_comfyui_s_names(folder: Path) -> None:
    converted = WanPipeline.lora_state_dict(load_file(folder / COMFYUI_FILE))
    ours = load_file(folder / ADAPTER_FILE)
    assert converted.keys() == ours.keys()
    assert all(torch.equal(converted[name], ours[name]) for name in ours)


def test_comfyui_s_names_by_hand(folder: Path) -> None:
    named = load_file(folder / COMFYUI_FILE)
    assert len(named) == 2 * 3 * 10
    for module in (
        *(f"{kind}_attn.{each}" for kind in ("self", "cross") for each in "qkvo"),
        "ffn.0",
        "ffn.2",
    ):
        for weight in ("lora_A", "lora_B"):
            assert f"diffusion_model.blocks.1.{module}.{weight}.weight" in named
    ours = load_file(folder / ADAPTER_FILE)["transformer.blocks.0.attn1.to_out.0.lora_B.weight"]
    theirs = named["diffusion_model.blocks.0.self_attn.o.lora_B.weight"]
    assert torch.equal(theirs, ours)


def test_the_prefix_is_that_of_diffusers_pipeline() -> None:
    assert lora_pipeline.WanLoraLoaderMixin.transformer_name == MotionWan.lora_prefix


def test_comfyui_s_names_are_of_all_modules_with_an_adapter(bare: MotionWan) -> None:
    modules = {name.split(".", 2)[2] for kind in TARGETS for name in bare.lora_targets(kind)}
    assert modules == set(MotionWan.comfyui_modules)
    assert len(bare.lora_targets("attention")) == 6 * len(bare.blocks)


def test_a_lora_of_another_kind_of_base_is_refused(
    bare: MotionWan, folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    unet = MotionUNet.from_pretrained(base_folder, subfolder="unet")
    add_lora(unet, 3, ["attention"])
    save_lora(unet, tmp_path, LoraInfo(3, ("attention",)))
    assert not (tmp_path / COMFYUI_FILE).exists(), "it has no names of its own for a UNet"
    message = (
        rf"^{tmp_path / ADAPTER_FILE}: \S+ does not begin with transformer\., as names in a LoRA"
    )
    with pytest.raises(UserError, match=message):
        load_lora(deepcopy(bare), tmp_path)
    with pytest.raises(UserError, match=f"^{folder}: the LoRA .* does not fit this base"):
        load_lora(unet, folder)
