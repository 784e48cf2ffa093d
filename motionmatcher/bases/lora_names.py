"""Names of adapter weights in the files that other programs read.

Within this program they are peft's: `MODULE.lora_A.weight` and `MODULE.lora_B.weight`. A pipeline of
diffusers has several networks and wants the network's attribute in front: without it a file loads
into `WanPipeline` without an error and changes nothing. ComfyUI names Wan's modules as the model's
first program did.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from motionmatcher.errors import UserError

# Class of the denoiser -> its attribute in diffusers' pipelines. Zeroscope's files never had one.
DIFFUSERS_PREFIXES = {
    "UNet3DConditionModel": "",
    "UNetMotionModel": "unet.",
    "WanTransformer3DModel": "transformer.",
    "LTXVideoTransformer3DModel": "transformer.",
    "CogVideoXTransformer3DModel": "transformer.",
    "HunyuanVideoTransformer3DModel": "transformer.",
}
_COMFYUI_PREFIX = "diffusion_model."
# Modules of a Wan block: diffusers' name -> ComfyUI's.
_COMFYUI_MODULES = {
    "attn1.to_q": "self_attn.q",
    "attn1.to_k": "self_attn.k",
    "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_q": "cross_attn.q",
    "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}
_DIFFUSERS_MODULES = {theirs: ours for ours, theirs in _COMFYUI_MODULES.items()}
_WAN_WEIGHT = re.compile(r"(blocks\.\d+)\.(.+)\.(lora_[AB]\.weight)")


def to_diffusers(tensors: Mapping[str, Tensor], denoiser_class: str) -> dict[str, Tensor]:
    """Name adapter weights as diffusers' pipelines read them.

    Args:
        tensors: By peft's names.
        denoiser_class: One of `DIFFUSERS_PREFIXES`.
    """
    prefix = DIFFUSERS_PREFIXES[denoiser_class]
    return {prefix + name: tensor for name, tensor in tensors.items()}


def from_diffusers(
    tensors: Mapping[str, Tensor], denoiser_class: str, file: Path
) -> dict[str, Tensor]:
    """Name adapter weights of a file as peft does: the inverse of `to_diffusers`.

    Args:
        tensors: By diffusers' names.
        denoiser_class: One of `DIFFUSERS_PREFIXES`.
        file: Where they are from, for the error.

    Raises:
        UserError: A name has another prefix, so the adapter is of another kind of base.
    """
    prefix = DIFFUSERS_PREFIXES[denoiser_class]
    return {_strip(prefix, name, denoiser_class, file): each for name, each in tensors.items()}


def wan_to_comfyui(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name a Wan transformer's adapter weights as ComfyUI reads them.

    Args:
        tensors: By peft's names; of attentions and feed-forward layers, as adapters are.
    """
    renamed = {}
    for name, tensor in tensors.items():
        match = _WAN_WEIGHT.fullmatch(name)
        assert match, name
        block, module, weight = match.groups()
        renamed[f"{_COMFYUI_PREFIX}{block}.{_COMFYUI_MODULES[module]}.{weight}"] = tensor
    return renamed


def wan_from_comfyui(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Name a Wan transformer's adapter weights as peft does: the inverse of `wan_to_comfyui`.

    Args:
        tensors: By ComfyUI's names.
        file: Where they are from, for the error.

    Raises:
        UserError: A name is none that `wan_to_comfyui` gives.
    """
    renamed = {}
    for name, tensor in tensors.items():
        kept = _strip(_COMFYUI_PREFIX, name, "WanTransformer3DModel", file)
        match = _WAN_WEIGHT.fullmatch(kept)
        if match is None or match[2] not in _DIFFUSERS_MODULES:
            raise UserError(
                f"{file}: {name} is no weight that an adapter of Wan's attentions and feed-forward layers "
                "has: use one that this program wrote."
            )
        renamed[f"{match[1]}.{_DIFFUSERS_MODULES[match[2]]}.{match[3]}"] = tensor
    return renamed


def _strip(prefix: str, name: str, denoiser_class: str, file: Path) -> str:
    if not name.startswith(prefix):
        raise UserError(
            f"{file}: {name} does not begin with {prefix}, as names in a LoRA of a {denoiser_class} do: "
            "use a LoRA of this kind of base."
        )
    return name.removeprefix(prefix)
