"""The settings of the pretraining: names, types, ranges and meaning of the keys of its YAML."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionmatcher.config.bounds import MAX_SEED, MAX_UPDATES
from motionmatcher.config.declaration import section, setting
from motionmatcher.config.loading import read_settings
from motionmatcher.errors import UserError

MAX_WIDTH = 65_536  # channels, or values of a hidden state
MAX_LAYERS = 1000
MAX_BATCH_SIZE = 100_000
MAX_CLIPS = 10_000_000
MAX_CLIP_FRAMES = 1000
MAX_RATE = 1.0
MAX_WEIGHT = 1e6
MAX_THREADS = 1024


def _width(meaning: str) -> Any:
    return setting(..., meaning, minimum=1, maximum=MAX_WIDTH)


def _layers(meaning: str) -> Any:
    return setting(..., meaning, minimum=1, maximum=MAX_LAYERS)


def _steps(meaning: str = "training steps") -> Any:
    return setting(..., meaning, minimum=0, maximum=MAX_UPDATES)


def _batch_size(meaning: str) -> Any:
    return setting(..., meaning, minimum=1, maximum=MAX_BATCH_SIZE)


def _rate(meaning: str = "peak of the learning rate's schedule") -> Any:
    return setting(..., meaning, minimum=0, maximum=MAX_RATE)


def _part(meaning: str) -> Any:
    return setting(..., meaning, minimum=0, maximum=1)


def _weight(meaning: str) -> Any:
    return setting(..., meaning, minimum=0, maximum=MAX_WEIGHT)


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """The image autoencoder and its training."""

    block_out_channels: tuple[int, ...] = _width("channels at 64, 32, 16 and 8 pixels")
    norm_num_groups: int = _width("groups of the group normalisation")
    num_steps: int = _steps()
    batch_size: int = _batch_size("single frames per step")
    num_crop_steps: int = _steps(
        "the first steps, which see crops around the shape instead of whole frames"
    )
    crop_size: int = setting(..., "side of a crop, in pixels", minimum=1, maximum=64)
    crop_batch_size: int = _batch_size("crops per step")
    learning_rate: float = _rate()
    latent_noise: float = _weight(
        "largest standard deviation of the noise on the unit-variance latents"
    )
    object_weight: float = _weight("extra weight of the loss on the shape")
    edge_weight: float = _weight("extra weight of the loss on the shape's edge")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The small CLIP and its training."""

    hidden_size: int = _width(
        "width of the text encoder, which is the denoiser's width of text states"
    )
    image_hidden_size: int = _width("width of the image encoder")
    num_layers: int = _layers("transformer layers of the text encoder")
    image_num_layers: int = _layers("transformer layers of the image encoder")
    num_steps: int = _steps()
    batch_size: int = _batch_size("clips per step; each is contrasted with all others")
    learning_rate: float = _rate()


@dataclass(frozen=True, kw_only=True)
class DenoiserStageConfig:
    """One stage of the denoiser's training."""

    num_frames: int = setting(
        ...,
        "frames per clip, taken evenly from the rendered ones",
        minimum=1,
        maximum=MAX_CLIP_FRAMES,
    )
    num_steps: int = _steps()
    batch_size: int = _batch_size("clips per step")
    learning_rate: float = _rate()
    text_learning_rate: float = _rate("the same for the text encoder's layers")
    final_rate: float = _part("part of the learning rate that is left at the end")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The UNet in Zeroscope's layout."""

    block_out_channels: tuple[int, ...] = _width(
        "channels at each resolution, the first one that of the latents"
    )
    layers_per_block: int = _layers(
        "residual blocks, each with its transformers, at each resolution"
    )
    attention_head_dim: int = _width("width of one attention head")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The transformer in Wan's layout."""

    num_layers: int = _layers("transformer blocks")
    num_attention_heads: int = _layers("heads of each attention")
    attention_head_dim: int = _width("width of one attention head")
    ffn_dim: int = _width("width of the feed-forward layers")
    position_weight: float = _weight(
        "weight of the position head's loss at the start; it falls to final_position_weight"
    )
    final_position_weight: float = _weight("its weight at the end")
    position_block: int | None = setting(
        None,
        "index of the block whose output must tell each token's position, see "
        "testbed.networks.PositionHead; null trains without",
        minimum=0,
        maximum=MAX_LAYERS,
    )


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """The denoiser and its training."""

    objective: str = setting(
        ...,
        "epsilon (noise prediction, min-SNR) or flow (flow matching)",
        choices=("epsilon", "flow"),
    )
    num_cached_clips: int = setting(
        ...,
        "clips whose latents are kept in memory; an epoch of the training",
        minimum=1,
        maximum=MAX_CLIPS,
    )
    num_rendered_frames: int = setting(
        ..., "frames of each cached clip", minimum=1, maximum=MAX_CLIP_FRAMES
    )
    reversal: float = _part("part of the clips that are played backwards, and described so")
    caption_dropout: float = _part("part of the clips trained with the empty prompt")
    noise_offset: float = _weight(
        "standard deviation of the part of the noise that a whole clip shares"
    )
    ema_decay: float = _part("decay of the average of the weights, which is what ships")
    stages: tuple[DenoiserStageConfig, ...] = setting(..., "the stages, run one after the other")
    unet: UNetConfig | None = setting(None, "sizes of the UNet; either this or transformer")
    transformer: TransformerConfig | None = setting(None, "sizes of the transformer")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything `python -m testbed.pretrain` reads."""

    seed: int = setting(
        ..., "fixes data, noise and initial weights", minimum=0, maximum=MAX_SEED - 2
    )
    num_threads: int = setting(..., "CPU threads", minimum=1, maximum=MAX_THREADS)
    checkpoint_minutes: float = setting(
        ..., "time between two checkpoints", minimum=0, maximum=1_000_000
    )
    state_dir: Path = setting(..., "folder of the training states", is_path=True)
    model_dir: Path = setting(..., "folder of the exported base", is_path=True)
    clip_dir: Path = setting(
        ...,
        "folder of the small CLIP: exported there, or taken from there without text",
        is_path=True,
    )
    denoiser: DenoiserConfig = section(DenoiserConfig)
    autoencoder: AutoencoderConfig | None = setting(
        None, "settings of the autoencoder; without them that of autoencoder_dir is taken"
    )
    autoencoder_dir: Path | None = setting(None, "folder of an exported autoencoder", is_path=True)
    text: TextConfig | None = setting(
        None, "settings of the small CLIP; without them that of clip_dir is taken"
    )


def load_config(path: Path) -> PretrainConfig:
    """Read the settings from a YAML file.

    Raises:
        UserError: The file is missing, or a key is unknown, missing, of the wrong type or out of
            range, or of two parts of which one is needed both are there or none.
    """
    config = read_settings(PretrainConfig, path)
    _require_one(path, "", config, ("autoencoder", "autoencoder_dir"))
    _require_one(path, "denoiser.", config.denoiser, ("unet", "transformer"))
    if not config.denoiser.stages:
        raise UserError(f"{path}: denoiser.stages is empty: give one or more.")
    for index, stage in enumerate(config.denoiser.stages):
        if stage.num_frames > config.denoiser.num_rendered_frames:
            raise UserError(
                f"{path}: denoiser.stages[{index}].num_frames must be at most "
                f"denoiser.num_rendered_frames {config.denoiser.num_rendered_frames}, not "
                f"{stage.num_frames}."
            )
    return config


def _require_one(path: Path, prefix: str, group: Any, names: tuple[str, str]) -> None:
    """Refuse a group that has both of two alternatives, or none."""
    if sum(getattr(group, name) is not None for name in names) != 1:
        raise UserError(f"{path}: give either {prefix}{names[0]} or {prefix}{names[1]}.")
