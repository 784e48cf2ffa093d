"""What a cell's result depends on; its file is named by a digest of exactly that.

So a result is never taken for that of other settings, another base or another clip, and none is made
again for a change that cannot matter to it.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from experiments.comparison.cells import Cell
from experiments.comparison.config import ComparisonConfig
from experiments.comparison.methods import BASE
from motionmatcher.config.settings import WITHOUT_EFFECT, TrainSettings

# Raised by hand when the same settings come to mean something else: a default that changes, or how a
# cell is trained, sampled or tracked. Cells of an older version are made again.
CELL_VERSION = 1

# Of `validation_data`, what the comparison samples with; the noise priors are the cell's own.
_SAMPLING = (
    *("num_inference_steps", "scheduler", "guidance_scale", "lora_scale"),
    *("negative_prompt", "inversion_iterations"),
)
# The clip counts by its content; `fps` is for previews.
_OF_THE_CLIP_FILE = ("single_video_path", "fps")
# Keys that cannot change a training: the base counts by its fingerprint, number of steps and seed
# are the cell's, and the rest is about previews, logs, caches and checkpoints.
_NOT_OF_TRAINING = (
    "pretrained_model_path",
    "motion_adapter_path",
    "max_train_steps",
    "seed",
    "train_data",
    "validation_data",
    "output_dir",
    "validation_steps",
    "logger_type",
    "cache_latents",
    "cached_latent_dir",
    "checkpointing_steps",
    "checkpoints_total_limit",
    "resume_from_checkpoint",
    *WITHOUT_EFFECT,
)
_OF_FEATURE_MATCHING = ("motion_extractor", "loss_weights", "feature_loss")


def identify(
    config: ComparisonConfig, cell: Cell, settings: TrainSettings, fingerprint: str
) -> dict[str, Any]:
    """Tell everything that a cell's result depends on.

    Args:
        config: The comparison.
        cell: The cell.
        settings: Its settings, of `cells.cell_settings`.
        fingerprint: The base's.

    Returns:
        Plain values, as JSON holds them.
    """
    return {
        "version": CELL_VERSION,
        "cell": asdict(cell),
        "settings": _settings_that_matter(settings, cell),
        "prompts": [prompt.text for prompt in config.prompts],
        "samples": config.samples,
        "batch_size": config.batch_size,  # changes rounding
        "base": fingerprint,
        "clip": hashlib.sha256(
            Path(settings.train_data.single_video_path).read_bytes()
        ).hexdigest(),
    }


def result_path(folder: Path, cell: Cell, identity: dict[str, Any]) -> Path:
    """Name the file of a cell's result.

    Args:
        folder: Of all cells.
        cell: The cell.
        identity: Its own, of `identify`.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    return folder / f"{cell.label}-{digest}.json"


def code_version() -> str | None:
    """Say which state of the program this is, as `git describe` does; None outside a repository.

    Written beside each result, but no part of its identity: most commits change no cell.
    """
    if shutil.which("git") is None:
        return None
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() if described.returncode == 0 else None


def _settings_that_matter(settings: TrainSettings, cell: Cell) -> dict[str, Any]:
    validation = _changed_keys(settings.validation_data)
    matter = {
        "train_data": _changed_keys(settings.train_data, without=_OF_THE_CLIP_FILE),
        "sampling": {key: value for key, value in validation.items() if key in _SAMPLING},
        "min_timestep": settings.min_timestep,
    }
    if cell.method == BASE:
        return matter
    unused = () if settings.objective == "feature_matching" else _OF_FEATURE_MATCHING
    return matter | {"training": _changed_keys(settings, without=(*_NOT_OF_TRAINING, *unused))}


def _changed_keys(settings: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """List the keys that are not at their default, so that a new key changes no identity."""
    changed: dict[str, Any] = {}
    for entry in fields(settings):
        if entry.name in without:
            continue
        value, default = getattr(settings, entry.name), entry.default  # MISSING equals nothing
        if is_dataclass(value):
            value, default = _changed_keys(value), {}
        elif entry.default_factory is not MISSING:
            default = entry.default_factory()
        if value != default:
            changed[entry.name] = value
    return changed
