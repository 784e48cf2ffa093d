"""Make the states of finished stages again from the exported base, where they were lost.

The states hold more than what ships: the weights beside their average, and the optimiser's moments.
So a finished stage is restored, from which the next one begins, but none in the middle of its steps.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel, WanTransformer3DModel
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel

from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.text_files import read_json
from testbed.autoencoder import STANDARD_VARIANCE, StandardisedAutoencoder
from testbed.config import PretrainConfig
from testbed.denoiser import denoiser_name, initial_model
from testbed.recipe import gate_path, list_stages
from testbed.stage import write_state
from testbed.text import ClipTrainer
from testbed.tokenizer import build_tokenizer


def restore_states(config: PretrainConfig) -> list[str]:
    """Write a state for every stage that the exported base has behind it.

    Args:
        config: Names the folders; sizes of all parts are those of the exported base.

    Returns:
        The names of the stages restored.

    Raises:
        UserError: There are states already, or no exported base, or not of this config; nothing is
            written then.
    """
    if config.state_dir.is_dir() and any(config.state_dir.glob("*.safetensors")):
        raise UserError(f"{config.state_dir} holds states: nothing is lost, go on with --resume")
    record_file = config.model_dir / "training.json"
    if not record_file.is_file():
        raise UserError(f"{record_file}: no such file; expected an exported base to restore from")
    record: dict[str, Any] = read_json(record_file)
    if "stages" not in record:
        raise UserError(
            f"{record_file}: does not say which stages are finished; expected an export with 'stages'"
        )
    if not config.clip_dir.is_dir():
        raise UserError(f"{config.clip_dir}: no such folder; expected the exported small CLIP")
    done = {entry["name"]: entry for entry in record["stages"]}
    finished = [
        stage
        for stage in list_stages(config)
        if stage.name in done and done[stage.name]["steps"] >= stage.num_steps
    ]
    makers = {
        "autoencoder": _autoencoder_weights,
        "text": _clip_weights,
        "denoiser": _denoiser_weights,
    }
    # All stages of the denoiser get the same weights, for one denoiser ships.
    weights = {part: makers[part](config) for part in dict.fromkeys(s.part for s in finished)}
    config.state_dir.mkdir(parents=True, exist_ok=True)
    for stage in finished:
        both = {
            f"{kind}.{k}": v for kind in ("model", "ema") for k, v in weights[stage.part].items()
        }
        entry = done[stage.name]
        write_state(stage.state, both, entry["steps"], 3600 * entry["hours"], [])
        if stage.name in record["gates"]:
            write_json(gate_path(config, stage.name), record["gates"][stage.name])
    return [stage.name for stage in finished]


def _autoencoder_weights(config: PretrainConfig) -> dict[str, Tensor]:
    assert config.autoencoder is not None
    model = StandardisedAutoencoder(config.autoencoder)
    _take(model.vae, AutoencoderKL.from_pretrained(config.model_dir / "vae"), config.model_dir)
    model.variance.fill_(STANDARD_VARIANCE)  # the export has folded it in already
    return model.state_dict()


def _clip_weights(config: PretrainConfig) -> dict[str, Tensor]:
    assert config.text is not None
    # The heads that name attributes are not exported; nothing after the stage needs them.
    model = ClipTrainer(config.text, build_tokenizer())
    _take(model.clip, CLIPModel.from_pretrained(config.clip_dir), config.clip_dir)
    return model.state_dict()


def _denoiser_weights(config: PretrainConfig) -> dict[str, Tensor]:
    text_encoder = CLIPTextModel.from_pretrained(config.model_dir / "text_encoder")
    # The position head is not exported; the stage after begins with a new one, always the same.
    model = initial_model(config, text_encoder)
    part = denoiser_name(config.denoiser)
    classes = {"unet": UNet3DConditionModel, "transformer": WanTransformer3DModel}
    exported = classes[part].from_pretrained(config.model_dir / part)
    _take(model.denoiser, exported, config.model_dir)
    return model.float().state_dict()


def _take(model: nn.Module, exported: nn.Module, folder: Path) -> None:
    """Copy exported weights.

    Raises:
        UserError: They are of other sizes.
    """
    weights, own = exported.float().state_dict(), model.state_dict()
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in own.items()}:
        raise UserError(f"{folder} is not of this config: its weights have other sizes")
    with torch.no_grad():
        model.load_state_dict(weights)
