"""How ComfyUI names the weights of adapters, so that files of ours load there.

diffusers' names are peft's behind the denoiser's `lora_prefix`, its attribute in the pipeline: without
it a file loads into `WanPipeline` without an error and changes nothing.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_PREFIX = "diffusion_model."
_WEIGHT = re.compile(r"(blocks\.\d+)\.(.+)\.(lora_[AB]\.weight)")


def to_comfyui(tensors: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, Tensor]:
    """Name a transformer's adapter weights as ComfyUI reads them.

    Args:
        tensors: By peft's names.
        modules: Each module of a block that can have an adapter -> ComfyUI's name of it.
    """
    renamed = {}
    for name, tensor in tensors.items():
        match = _WEIGHT.fullmatch(name)
        assert match, name
        block, module, weight = match.groups()
        renamed[f"{_PREFIX}{block}.{modules[module]}.{weight}"] = tensor
    return renamed
