"""Write the base and the small CLIP as folders that diffusers and transformers load, in fp16."""

from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessor

from motionmatcher.bases.layout import find_base
from motionmatcher.errors import UserError
from motionmatcher.files import write_json, write_text
from motionmatcher.text_files import read_json
from testbed.autoencoder import load_autoencoder
from testbed.config import PretrainConfig
from testbed.denoiser import denoiser_name, latest_stage, load_denoiser, stage_name
from testbed.model_card import model_card
from testbed.networks import make_scheduler
from testbed.recipe import gate_path, list_stages
from testbed.renderer import FRAME_SIZE
from testbed.stage import hours_spent, steps_done
from testbed.text import load_clip, text_state_path

_PIPELINES = {"unet": "TextToVideoSDPipeline", "transformer": "WanPipeline"}


def export_base(config: PretrainConfig) -> str:
    """Write the averaged weights as they are now to `model_dir`.

    Args:
        config: Names the folders.

    Returns:
        What was written, for people.

    Raises:
        UserError: There is no training state of the denoiser yet.
    """
    stage = latest_stage(config)
    if stage is None:
        raise UserError(
            f"{config.state_dir}: no state of the denoiser yet; run python -m testbed.pretrain first"
        )
    model, step = load_denoiser(config, stage)
    _, tokenizer = load_clip(config)
    folder, name = config.model_dir, denoiser_name(config.denoiser)
    parts = {
        name: model.denoiser.half(),
        "vae": load_autoencoder(config).half(),
        "text_encoder": model.text_encoder.half(),
        "tokenizer": tokenizer,
        "scheduler": make_scheduler(config.denoiser.objective),
    }
    index: dict[str, str | list[str]] = {"_class_name": _PIPELINES[name]}
    for part, module in sorted(parts.items()):
        module.save_pretrained(folder / part)
        library = type(module).__module__.partition(".")[0]
        index[part] = [library, type(module).__name__]
    write_json(folder / "model_index.json", index)
    settings = config.denoiser.stages[stage]
    progress = {
        "stage": stage_name(config, stage),
        "step": step,
        "num_steps": settings.num_steps,
        "num_frames": settings.num_frames,
        "seed": config.seed,
        **training_record(config),
    }
    write_json(folder / "training.json", progress)
    write_text(folder / "README.md", model_card(config, find_base(str(folder)).fingerprint()))
    return f"{folder}: {progress['stage']}, step {step}"


def training_record(config: PretrainConfig) -> dict[str, Any]:
    """Tell what is behind the weights: "stages" with steps and hours, and the "gates"' values."""
    stages = [stage for stage in list_stages(config) if steps_done(stage.state)]
    gates = {stage.name: gate_path(config, stage.name) for stage in stages}
    return {
        "stages": [
            {
                "name": stage.name,
                "steps": steps_done(stage.state),
                "hours": round(hours_spent(stage.state), 2),
            }
            for stage in stages
        ],
        "gates": {name: read_json(path) for name, path in gates.items() if path.is_file()},
    }


def export_clip(config: PretrainConfig) -> Path:
    """Write the averaged small CLIP to `clip_dir`.

    Raises:
        UserError: It has not been trained yet.
    """
    if not text_state_path(config).is_file():
        raise UserError(f"{text_state_path(config)}: no state of the small CLIP yet")
    clip, tokenizer = load_clip(config)
    clip.half().save_pretrained(config.clip_dir)
    tokenizer.save_pretrained(config.clip_dir)
    CLIPImageProcessor(
        size={"height": FRAME_SIZE, "width": FRAME_SIZE},
        crop_size={"height": FRAME_SIZE, "width": FRAME_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(config.clip_dir)
    return config.clip_dir
