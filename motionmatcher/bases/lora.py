"""Low-rank adapters: which modules get one, and adapters as files (ours and the published form)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora_linear import join_lora
from motionmatcher.bases.lora_names import to_comfyui
from motionmatcher.config.settings import LORA_TARGETS
from motionmatcher.errors import UserError
from motionmatcher.random_streams import stream_seed
from motionmatcher.tensor_files import read_pickle, read_tensors, require_sound, write_tensors

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
COMFYUI_FILE = "comfyui.safetensors"
_PUBLISHED_FILE = re.compile(r"([0-9]+)_unet\.pt")


@dataclass(frozen=True)
class LoraInfo:
    """What an adapter file says of itself.

    Attributes:
        rank: Rank of every adapter.
        targets: Kinds of modules, of `LORA_TARGETS`.
        base: Fingerprint of the base model it was trained on; None in the published format.
        reference: Fingerprint of the reference latents; None in the published format.
    """

    rank: int
    targets: tuple[str, ...]
    base: str | None = None
    reference: str | None = None


def target_modules(denoiser: Denoiser, targets: Sequence[str]) -> list[str]:
    """List the modules that get an adapter, without adapters' own `base_layer`.

    Args:
        denoiser: The network, with or without adapters.
        targets: Kinds of modules, of its `lora_kinds`.
    """
    return [name for target in targets for name in denoiser.lora_targets(target)]


def add_lora(
    denoiser: Denoiser, rank: int, targets: Sequence[str], dropout: float = 0.0, seed: int = 0
) -> None:
    """Give a denoiser fresh adapters: A normal with standard deviation 1/rank, B zero, scale 1.

    Args:
        denoiser: The base; frozen by this.
        rank: Rank of every adapter.
        targets: Kinds of modules, of its `lora_kinds`.
        dropout: Probability of dropping an element of an adapter's input while training.
        seed: The run's seed; A is drawn from its stream "lora".
    """
    denoiser.requires_grad_(False)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=target_modules(denoiser, targets),
        lora_dropout=dropout,
        init_lora_weights="gaussian",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "lora"))
        denoiser.add_adapter(config)
    for weight in denoiser.lora_parameters().values():
        weight.data = weight.data.float() if weight.dtype.itemsize < 4 else weight.data
    join_lora(denoiser)
    denoiser.train(denoiser.training)


def save_lora(denoiser: Denoiser, folder: Path, info: LoraInfo) -> None:
    """Write a denoiser's adapter as safetensors with its description in the metadata.

    Args:
        denoiser: The network with the adapter.
        folder: Gets `pytorch_lora_weights.safetensors`, and `comfyui.safetensors` where ComfyUI has
            names of its own for the network's modules.
        info: What the adapter is.
    """
    tensors = get_peft_model_state_dict(denoiser, adapter_name="default")
    prefix = _prefix(denoiser)
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    write_tensors(folder / ADAPTER_FILE, named, asdict(info))
    if denoiser.comfyui_modules:
        renamed = to_comfyui(tensors, denoiser.comfyui_modules)
        write_tensors(folder / COMFYUI_FILE, renamed, asdict(info))


def read_lora(folder: Path, denoiser: Denoiser) -> tuple[LoraInfo, dict[str, Tensor]]:
    """Read an adapter, ours or published, without touching the denoiser.

    Args:
        folder: A checkpoint's `lora` folder.
        denoiser: The base, whose module order the published format follows.

    Returns:
        The adapter's description and its tensors by peft's names.

    Raises:
        UserError: There is no adapter, it is damaged, or it belongs to another architecture.
    """
    ours = folder / ADAPTER_FILE
    if ours.is_file():
        tensors, description = read_tensors(ours)
        info = _parse_info(ours, description)
        tensors = _without_prefix(tensors, denoiser, ours)
        for name, tensor in tensors.items():
            require_sound(f"{ours}: {name}", tensor)
        # Known before adapters of that rank are made: a false one could be of any size.
        ranks = {tensor.shape[:1] for name, tensor in tensors.items() if ".lora_A." in name}
        if ranks != {(info.rank,)}:
            raise UserError(
                f"{ours} says that its rank is {info.rank}, which its tensors are not of."
            )
        return info, tensors
    found = {file: _PUBLISHED_FILE.fullmatch(file.name) for file in folder.glob("*_unet.pt")}
    published = {int(match[1]): file for file, match in found.items() if match}
    if not published:
        raise UserError(f"{folder} has no LoRA: expected {ADAPTER_FILE} or a published N_unet.pt.")
    return _read_published(published[max(published)], denoiser)


def load_lora(denoiser: Denoiser, folder: Path, dropout: float = 0.0) -> LoraInfo:
    """Attach an adapter file to a denoiser, or replace the weights of the adapter it has.

    Args:
        denoiser: The base, with or without an adapter of the same rank and targets.
        folder: A checkpoint's `lora` folder, ours or published.
        dropout: As in `add_lora`, when the adapter is new.

    Returns:
        The adapter's description.

    Raises:
        UserError: As `read_lora`, and when the tensors do not fit the denoiser.
    """
    info, tensors = read_lora(folder, denoiser)
    fits = set(info.targets) <= set(denoiser.lora_kinds)
    if fits and not denoiser.lora_layers():
        add_lora(denoiser, info.rank, info.targets, dropout)
    expected = get_peft_model_state_dict(denoiser, adapter_name="default") if fits else {}
    if {name: tensor.shape for name, tensor in tensors.items()} != {
        name: tensor.shape for name, tensor in expected.items()
    }:
        raise UserError(
            f"{folder}: the LoRA (rank {info.rank}, {', '.join(info.targets)}) does not fit this "
            "base and these settings: use the base model, lora_rank and lora_targets it was made with."
        )
    set_peft_model_state_dict(denoiser, tensors, adapter_name="default")
    return info


def _prefix(denoiser: Denoiser) -> str:
    """What names in a denoiser's adapter files begin with, its dot included."""
    return f"{denoiser.lora_prefix}." if denoiser.lora_prefix else ""


def _without_prefix(
    tensors: Mapping[str, Tensor], denoiser: Denoiser, file: Path
) -> dict[str, Tensor]:
    prefix = _prefix(denoiser)
    for name in tensors:
        if not name.startswith(prefix):
            raise UserError(
                f"{file}: {name} does not begin with {prefix}, as names in a LoRA of this kind of base do: "
                "use a LoRA that was trained on it."
            )
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _parse_info(file: Path, description: Mapping[str, Any]) -> LoraInfo:
    """Check what an adapter file says of itself."""
    rank, targets = description.get("rank"), description.get("targets")
    base, reference = description.get("base"), description.get("reference")
    known = {field.name for field in fields(LoraInfo)}
    if (
        description.keys() <= known
        and type(rank) is int
        and isinstance(targets, list)
        and all(target in LORA_TARGETS for target in targets)
        and 0 < len(targets) == len(set(targets))
        and all(value is None or isinstance(value, str) for value in (base, reference))
    ):
        return LoraInfo(rank, tuple(targets), base, reference)
    raise UserError(
        f"{file}: its description {str(dict(description))[:200]} is not that of a LoRA: expected rank "
        f"(a number), targets (of {', '.join(LORA_TARGETS)}), base and reference. Use another one."
    )


def _read_published(file: Path, denoiser: Denoiser) -> tuple[LoraInfo, dict[str, Tensor]]:
    """Read `N_unet.pt`: a plain list [up, down, up, down, …] in the order of `target_modules`."""
    weights = read_pickle(file)
    modules = target_modules(denoiser, ["attention"])
    fits = isinstance(weights, list) and len(weights) == 2 * len(modules)
    if not fits or not all(isinstance(weight, Tensor) for weight in weights):
        raise UserError(
            f"{file} is not a published LoRA of this base: expected a list of {2 * len(modules)} tensors."
        )
    tensors = {}
    for module, up, down in zip(modules, weights[::2], weights[1::2], strict=True):
        tensors[f"{module}.lora_A.weight"] = down.detach()
        tensors[f"{module}.lora_B.weight"] = up.detach()
    for name, tensor in tensors.items():
        require_sound(f"{file}: {name}", tensor)
        if tensor.ndim != 2:
            raise UserError(
                f"{file}: {name} has the shape {list(tensor.shape)}, not that of a matrix."
            )
    return LoraInfo(rank=len(weights[1]), targets=("attention",)), tensors
