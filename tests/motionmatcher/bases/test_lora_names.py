"""Adapter files have the effect in other programs that they have here."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    UNet3DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from small_models import small_wan
from torch import Tensor

from motionmatcher.bases.lora_names import (
    DIFFUSERS_PREFIXES,
    from_diffusers,
    to_diffusers,
    wan_from_comfyui,
    wan_to_comfyui,
)
from motionmatcher.errors import UserError
from motionmatcher.tensor_files import write_tensors

WAN = "WanTransformer3DModel"
FILE = Path("lora.safetensors")
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


@pytest.fixture(scope="module")
def bare() -> WanTransformer3DModel:
    return small_wan(0.1)


@pytest.fixture(scope="module")
def adapted(bare: WanTransformer3DModel) -> WanTransformer3DModel:
    """The same with an adapter, self-attention, cross-attention and feed-forward, that acts."""
    network = deepcopy(bare)
    network.add_adapter(LoraConfig(r=3, lora_alpha=3, target_modules=TARGETS))
    generator = torch.Generator().manual_seed(1)
    for name, weight in network.named_parameters():
        if ".lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    return network


@pytest.fixture(scope="module")
def tensors(adapted: WanTransformer3DModel) -> dict[str, Tensor]:
    return {
        name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(adapted).items()
    }


@torch.no_grad()
def run(network: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 16, 3, 4, 6, generator=generator)
    text_states = torch.randn(1, 7, 32, generator=generator)
    return network(latents, torch.tensor([700.0]), text_states).sample


def run_with(bare: WanTransformer3DModel, file: Path) -> Tensor:
    """Run the base with a file that WanPipeline has loaded."""
    network = deepcopy(bare)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    WanPipeline(None, None, None, scheduler, network).load_lora_weights(file.parent)
    return run(network)


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    file = folder / "pytorch_lora_weights.safetensors"
    write_tensors(file, tensors, {"rank": 3, "targets": ["attention"]})
    return file


def test_with_diffusers_names_wan_pipeline_computes_the_same(
    bare: WanTransformer3DModel,
    adapted: WanTransformer3DModel,
    tensors: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    expected = run(adapted)
    assert not torch.allclose(expected, run(bare), atol=1e-2)
    loaded = run_with(bare, saved(tmp_path, to_diffusers(tensors, WAN)))
    assert torch.equal(loaded, expected)


def test_with_peft_s_names_wan_pipeline_changes_nothing(
    bare: WanTransformer3DModel, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """The trap that the prefix is for."""
    assert torch.equal(run_with(bare, saved(tmp_path, tensors)), run(bare))


def test_with_comfyui_s_names_wan_pipeline_computes_the_same(
    bare: WanTransformer3DModel,
    adapted: WanTransformer3DModel,
    tensors: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file(wan_to_comfyui(tensors), file)
    assert torch.equal(run_with(bare, file), run(adapted))


def test_diffusers_converter_reads_comfyui_s_names(tensors: dict[str, Tensor]) -> None:
    converted = WanPipeline.lora_state_dict(dict(wan_to_comfyui(tensors)))
    ours = to_diffusers(tensors, WAN)
    assert converted.keys() == ours.keys()
    assert all(torch.equal(converted[name], ours[name]) for name in ours)


def test_comfyui_s_names_by_hand(tensors: dict[str, Tensor]) -> None:
    names = list(wan_to_comfyui(tensors))
    assert len(names) == 2 * 3 * 10
    for module in (
        *(f"{kind}_attn.{each}" for kind in ("self", "cross") for each in "qkvo"),
        "ffn.0",
        "ffn.2",
    ):
        for weight in ("lora_A", "lora_B"):
            assert f"diffusion_model.blocks.1.{module}.{weight}.weight" in names
    name = "blocks.0.attn1.to_out.0.lora_B.weight"
    assert (
        wan_to_comfyui(tensors)["diffusion_model.blocks.0.self_attn.o.lora_B.weight"]
        is (tensors[name])
    )


def test_every_renaming_has_a_way_back(tensors: dict[str, Tensor]) -> None:
    assert wan_from_comfyui(wan_to_comfyui(tensors), FILE) == tensors
    for denoiser_class in DIFFUSERS_PREFIXES:
        renamed = to_diffusers(tensors, denoiser_class)
        assert from_diffusers(renamed, denoiser_class, FILE) == tensors


def test_prefixes_are_those_of_diffusers_pipelines() -> None:
    from diffusers.loaders import lora_pipeline

    loaders = {
        "UNetMotionModel": lora_pipeline.StableDiffusionLoraLoaderMixin.unet_name,
        "WanTransformer3DModel": lora_pipeline.WanLoraLoaderMixin.transformer_name,
        "LTXVideoTransformer3DModel": lora_pipeline.LTXVideoLoraLoaderMixin.transformer_name,
        "CogVideoXTransformer3DModel": lora_pipeline.CogVideoXLoraLoaderMixin.transformer_name,
        "HunyuanVideoTransformer3DModel": lora_pipeline.HunyuanVideoLoraLoaderMixin.transformer_name,
    }
    expected = {name: f"{attribute}." for name, attribute in loaders.items()}
    assert {UNet3DConditionModel.__name__: "", **expected} == DIFFUSERS_PREFIXES


def test_a_lora_of_another_kind_of_base_is_refused(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"lora.safetensors: blocks.* begin with transformer\., as"):
        from_diffusers(tensors, WAN, FILE)
    with pytest.raises(UserError, match=r"lora.safetensors: transformer.* with diffusion_model\."):
        wan_from_comfyui(to_diffusers(tensors, WAN), FILE)


@pytest.mark.parametrize(
    "name",
    ["head.head.lora_A.weight", "blocks.0.self_attn.q.alpha", "blocks.0.ffn.1.lora_A.weight"],
)
def test_other_weights_of_comfyui_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"diffusion_model.{name} is no weight that an adapter"):
        wan_from_comfyui({f"diffusion_model.{name}": torch.ones(1)}, FILE)
