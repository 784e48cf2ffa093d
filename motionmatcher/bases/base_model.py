"""A base model: its parts together, loaded from one diffusers folder and frozen."""

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from motionmatcher.bases.codecs import Codec
from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.bases.parts import Part
from motionmatcher.bases.texts import TextEncoder
from motionmatcher.diffusion.schedules import Schedule
from motionmatcher.errors import UserError
from motionmatcher.finiteness import is_finite
from motionmatcher.tensor_files import require_named_tensors
from motionmatcher.transformers_bars import without_transformers_bars

CPU = torch.device("cpu")


@dataclass
class BaseModel:
    """A frozen text-to-video model.

    Attributes:
        schedule: The noise or flow schedule it was trained with.
        text: Prompts -> text states.
        codec: Frames <-> latents.
        denoiser: Predicts noise or velocity; carries the LoRA when there is one.
        device: Where it computes; the denoiser stays there.
        fingerprint: Identifies configs, weights and a rescaled schedule, wherever the folder lies.
        sampled_fingerprint: The same by a sample of the weights, as older files record it.
    """

    schedule: Schedule
    text: TextEncoder
    codec: Codec
    denoiser: Denoiser
    device: torch.device
    fingerprint: str
    sampled_fingerprint: str | None = None

    def note_on_record(self, recorded: str | None, owner: str) -> str | None:
        """Say what a fingerprint that a file records as its base's leaves to be said.

        Args:
            recorded: The fingerprint; None when the file does not say.
            owner: What the file holds, to begin the note with.

        Returns:
            One line; None when it is this base's.
        """
        if recorded in (None, self.fingerprint):
            return None
        if recorded == self.sampled_fingerprint:
            return (
                f"{owner} records its base by an older fingerprint, of a sample of the weights; as far as "
                "that tells, it is this base."
            )
        return f"{owner} was trained on another base than this one."


def load_base_model(
    layout: BaseLayout,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    rescale_schedule: bool = False,
    flow_shift: float | None = None,
    *,
    vae_tiling: bool = False,
    prompts: Iterable[str] = (),
    text_states: Path | None = None,
) -> BaseModel:
    """Load a base model's weights.

    A text encoder that is too large to stay is read first, and gone before the denoiser is read.

    Args:
        layout: The folder, as `layout.find_base` checked it.
        device: Where it shall compute.
        dtype: Dtype of the denoiser's weights; those of text encoder and codec are their own.
        rescale_schedule: See `NoiseSchedule.from_config`.
        flow_shift: See `FlowSchedule.from_config`.
        vae_tiling: See `Codec`.
        prompts: What a text encoder that does not stay shall encode at once.
        text_states: A run's file of what such an encoder made before, which may be missing.

    Raises:
        UserError: Weight files or the file of text states are missing, damaged or incomplete.
    """
    layout.require_weights()
    text_class, codec_class = layout.text.part_class, layout.codec.part_class

    def read_text_encoder() -> Any:
        return _read_part(layout, layout.text, text_class.model_class, CPU, dtype=text_class.dtype)

    tokenizer = text_class.read_tokenizer(layout.folder / "tokenizer", layout.num_tokens)
    text = text_class(
        layout.text.config, tokenizer, read_text_encoder, device, layout.text_fingerprint
    )
    if text_states is not None:
        text.read_states(text_states)
    text.prepare(prompts)
    vae = _read_part(layout, layout.codec, codec_class.model_class, CPU, torch_dtype=torch.float32)
    denoiser = _read_denoiser(layout, device, dtype)
    rescaled = "-rescaled" if rescale_schedule else ""
    return BaseModel(
        schedule=layout.read_schedule(rescale_schedule, flow_shift),
        text=text,
        codec=codec_class(vae, device, vae_tiling),
        denoiser=denoiser,
        device=device,
        fingerprint=layout.fingerprint() + rescaled,
        sampled_fingerprint=layout.sampled_fingerprint() + rescaled,
    )


def _read_denoiser(layout: BaseLayout, device: torch.device, dtype: torch.dtype) -> Denoiser:
    """Read the denoiser's weights onto a device, joined with a motion adapter's if there is one."""
    part, adapter = layout.denoiser, layout.motion_adapter
    if adapter is None:
        whole: Denoiser = _read_part(layout, part, part.part_class, device, torch_dtype=dtype)
        return whole
    adapter_class = adapter.part_class
    adapted = _read_part(layout, part, adapter_class.adapted_class, device, torch_dtype=dtype)
    layers = _read_part(layout, adapter, adapter_class, device, torch_dtype=dtype)
    joined: Denoiser = layers.join(adapted, part.config)
    return joined


def _read_part(
    layout: BaseLayout, part: Part[Any], model_class: Any, device: torch.device, **options: Any
) -> Any:
    """Read a part's weights onto a device, sound and frozen."""
    folder = layout.path_of(part)
    for file in layout.read_files(part):
        if file.suffix == ".bin":
            require_named_tensors(file)
    try:
        with without_transformers_bars():
            model, info = model_class.from_pretrained(
                folder,
                variant=layout.weight_variant(part),
                use_safetensors=layout.uses_safetensors(part),
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (OSError, SafetensorError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the weights in {folder} are damaged: {reason}") from error
    except (ValueError, RuntimeError) as error:  # diffusers' and transformers' own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights in {folder} are not those of its config.json: {reason}"
        ) from error
    if info["missing_keys"]:
        raise UserError(
            f"the weights in {folder} lack {len(info['missing_keys'])} tensors, "
            f"such as {min(info['missing_keys'])}: download them again."
        )
    model.to(device).eval().requires_grad_(False)
    _require_finite_weights(folder, model)
    return model


def _require_finite_weights(folder: Path, part: nn.Module) -> None:
    """Refuse a part of the base whose weights hold NaN or infinity; nothing made with it could be right."""
    wrong = [name for name, weight in part.named_parameters() if not is_finite(weight)]
    if wrong:
        dtype = part.get_parameter(wrong[0]).dtype
        precision = ", or mixed_precision bf16 or no" if dtype == torch.float16 else ""
        raise UserError(
            f"the weights in {folder} hold NaN or infinity in {len(wrong)} tensors, such as {wrong[0]}: "
            f"use sound weights of the base model{precision}."
        )
