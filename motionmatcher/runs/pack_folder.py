"""What a motion pack holds: a learned motion for others, who have neither the run nor its clip."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from motionmatcher.bases.lora import ADAPTER_FILE
from motionmatcher.bases.weights import check_weight_files
from motionmatcher.config.loading import parse_settings, with_preview_defaults
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.paths import find_path, require_folder
from motionmatcher.tensor_files import read_shapes, read_tensors, require_sound, write_tensors
from motionmatcher.text_files import read_json

PACK_FILE = "pack.json"
PACK_FORMAT = 1
NOISE_FILE = "inversion_noise.safetensors"
SHEET_FILE = "contact_sheet.png"
CARD_FILE = "README.md"
# Of a run's settings, what sampling needs and what tells of the training. Of the clip: its prompt.
_GROUPS = {
    "train_data": ("single_video_prompt", "width", "height", "n_sample_frames", "fps"),
    "validation_data": (
        *("prompt", "seed", "num_frames", "width", "height", "num_inference_steps", "scheduler"),
        *("guidance_scale", "lora_scale", "noise_prior", "negative_prompt"),
    ),
}
_KEYS = (
    *("pretrained_model_path", "motion_adapter_path", "objective", "feature_loss"),
    *("lora_rank", "lora_targets", "min_timestep", "learning_rate", "max_train_steps"),
    *("rescale_schedule", "flow_shift", "seed", "mixed_precision", "vae_tiling"),
)
_NOISE = "inversion"
_REMEDY = "Get the pack whole from where it comes from."


@dataclass(frozen=True)
class Pack:
    """A motion pack, as `python -m motionmatcher.pack` writes it; `Pack.open` checks it.

    Attributes:
        folder: Holds the LoRA in diffusers' layout, `pack.json`, and what else was asked for.
        trained: The settings it was trained with, those that it keeps; the others are the defaults.
    """

    folder: Path
    trained: TrainSettings
    # What a large text encoder makes of prompts is kept in runs alone.
    text_states: ClassVar[None] = None

    @classmethod
    def open(cls, folder: Path | str) -> "Pack":
        """Open a pack and check that it is whole, without reading its weights.

        Raises:
            UserError: It is not there, of a newer form, damaged, or lacks a file.
        """
        folder = Path(folder)
        require_folder(folder, "pack")
        file = folder / PACK_FILE
        if not file.is_file():
            raise UserError(
                f"{folder} has no {PACK_FILE}: give a pack, as python -m motionmatcher.pack writes it; a run "
                "is given by --checkpoint_folder."
            )
        content = read_json(file, _REMEDY)
        _check_format(file, content)
        settings = content.get("settings")
        if not isinstance(settings, dict):
            raise UserError(f"{file} has no 'settings'. {_REMEDY}")
        pack = cls(folder, _parse(file, settings))
        needed = [ADAPTER_FILE, *([NOISE_FILE] if pack.trained.validation_data.noise_prior else [])]
        for name in needed:
            if not (folder / name).is_file():
                raise UserError(f"{folder} lacks {name}. {_REMEDY}")
        weights = [folder / name for name in (ADAPTER_FILE, NOISE_FILE)]
        check_weight_files(folder, [path for path in weights if path.is_file()], _REMEDY)
        return pack

    def settings(self) -> TrainSettings:
        """The settings it was trained with, as of a run."""
        return self.trained

    def find_path(self, path: str) -> str:
        """Find what a path of its settings names: a hub id may lie in `models/`, by its name there."""
        found, here = find_path(path), find_path(f"models/{Path(path).name}")
        return found if Path(found).exists() or not Path(here).is_dir() else here

    def check_noise(self, shape: tuple[int, ...], option: str) -> None:
        """Refuse a size that its inversion noise is not of, or any if it holds none.

        Args:
            shape: Of a video's latents (C, F, h, w).
            option: What the noise prior is called.

        Raises:
            UserError: Says what is there.
        """
        file = self.folder / NOISE_FILE
        if not file.is_file():
            raise UserError(
                f"{option}: the pack {self.folder} holds no inversion noise: leave it out, or ask its author "
                "for a pack with it."
            )
        found = read_shapes(file).get(_NOISE)
        if found != (1, *shape):
            video = self.trained.validation_data
            raise UserError(
                f"{file} is noise for {video.num_frames} frames of {video.width}x{video.height} pixels: keep "
                f"this size, or use {option} 0."
            )

    def inversion_noise(self) -> Tensor:
        """Read the reference's inversion noise (1, C, F, h, w).

        Raises:
            UserError: It is damaged.
        """
        file = self.folder / NOISE_FILE
        return require_sound(f"{file}: {_NOISE}", read_tensors(file)[0].get(_NOISE))

    def write_noise(self, noise: Tensor, base: str) -> None:
        """Write the reference's inversion noise.

        Args:
            noise: (1, C, F, h, w).
            base: Fingerprint of the base that found it.
        """
        steps = self.trained.validation_data.num_inference_steps
        description = {"base": base, "num_inference_steps": steps}
        write_tensors(self.folder / NOISE_FILE, {_NOISE: noise}, description)

    def write_settings(self, checkpoint: int) -> None:
        """Write `pack.json`.

        Args:
            checkpoint: Step of the checkpoint that the LoRA is of.
        """
        values = asdict(self.trained)
        settings = {key: values[key] for key in _KEYS} | {
            group: {key: values[group][key] for key in keys} for group, keys in _GROUPS.items()
        }
        content = {
            "format": PACK_FORMAT,
            "checkpoint": checkpoint,
            "settings": settings,
        }
        write_json(self.folder / PACK_FILE, content)


def _check_format(file: Path, content: Any) -> None:
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int or found < 1:
        raise UserError(f"{file} does not say which format it has. {_REMEDY}")
    if found > PACK_FORMAT:
        raise UserError(
            f"{file} has format {found}, and formats up to {PACK_FORMAT} are understood: get a newer version "
            "of this toolkit."
        )


def _parse(file: Path, values: Mapping[str, Any]) -> TrainSettings:
    """Check the settings, with a word in place of the clip's path, which packs do not hold."""
    data = values.get("train_data")
    if isinstance(data, Mapping):
        values = {**values, "train_data": {**data, "single_video_path": "not in the pack"}}
    parsed = parse_settings(TrainSettings, values, str(file))
    return replace(with_preview_defaults(parsed), cache_latents=False)
