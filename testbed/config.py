"""The settings of the pretraining."""

from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.text_files import read_yaml

Objective = Literal["epsilon", "flow"]


@dataclass(frozen=True)
class AutoencoderConfig:
    """The image autoencoder and its training.

    Args:
        block_out_channels: Channels at 64, 32, 16 and 8 pixels.
        norm_num_groups: Groups of the group normalisation.
        num_steps: Training steps.
        batch_size: Single frames a step.
        num_crop_steps: The first steps, which see crops around the shape instead of whole frames.
        crop_size: Side of a crop, in pixels.
        crop_batch_size: Crops a step.
        learning_rate: Peak of the cosine schedule.
        latent_noise: Largest standard deviation of the noise on the unit-variance latents.
        object_weight: Extra weight of the loss on the shape.
        edge_weight: Extra weight of the loss on the shape's edge.
    """

    block_out_channels: tuple[int, ...]
    norm_num_groups: int
    num_steps: int
    batch_size: int
    num_crop_steps: int
    crop_size: int
    crop_batch_size: int
    learning_rate: float
    latent_noise: float
    object_weight: float
    edge_weight: float


@dataclass(frozen=True)
class TextConfig:
    """The small CLIP and its training.

    Args:
        hidden_size: Width of the text encoder, which is the UNet's `cross_attention_dim`.
        image_hidden_size: Width of the image encoder.
        num_layers: Transformer layers of the text encoder.
        image_num_layers: Transformer layers of the image encoder.
        num_steps: Training steps.
        batch_size: Clips a step; each is contrasted with all others.
        learning_rate: Peak of the cosine schedule.
    """

    hidden_size: int
    image_hidden_size: int
    num_layers: int
    image_num_layers: int
    num_steps: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class DenoiserStageConfig:
    """One stage of the denoiser's training.

    Args:
        num_frames: Frames a clip, taken evenly from the rendered ones.
        num_steps: Training steps.
        batch_size: Clips a step.
        learning_rate: Peak of the schedule.
        text_learning_rate: The same for the text encoder's layers.
        final_rate: Part of the learning rate that is left at the end.
    """

    num_frames: int
    num_steps: int
    batch_size: int
    learning_rate: float
    text_learning_rate: float
    final_rate: float


@dataclass(frozen=True)
class UNetConfig:
    """The UNet in Zeroscope's layout.

    Args:
        block_out_channels: Channels at each resolution, the first one that of the latents.
        layers_per_block: Residual blocks, each with its transformers, at each resolution.
        attention_head_dim: Width of one attention head.
    """

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    attention_head_dim: int


@dataclass(frozen=True)
class TransformerConfig:
    """The transformer in Wan's layout.

    Args:
        num_layers: Transformer blocks.
        num_attention_heads: Heads of each attention.
        attention_head_dim: Width of one attention head.
        ffn_dim: Width of the feed-forward layers.
        position_block: Index of the block whose output must tell each token's position, see
            `testbed.networks.PositionHead`; None trains without.
        position_weight: Weight of that loss at the start; it falls to `final_position_weight`.
        final_position_weight: Its weight at the end.
    """

    num_layers: int
    num_attention_heads: int
    attention_head_dim: int
    ffn_dim: int
    position_weight: float
    final_position_weight: float
    position_block: int | None = None


@dataclass(frozen=True)
class DenoiserConfig:
    """The denoiser and its training.

    Args:
        objective: "epsilon" (noise prediction, min-SNR) or "flow" (flow matching).
        num_cached_clips: Clips whose latents are kept in memory; an epoch of the training.
        num_rendered_frames: Frames of each cached clip.
        reversal: Part of the clips that are played backwards, and described so.
        caption_dropout: Part of the clips trained with the empty prompt.
        noise_offset: Standard deviation of the part of the noise that a whole clip shares.
        ema_decay: Decay of the average of the weights, which is what ships.
        stages: The stages, run one after the other.
        unet: Sizes of the UNet; either this or `transformer`.
        transformer: Sizes of the transformer.
    """

    objective: Objective
    num_cached_clips: int
    num_rendered_frames: int
    reversal: float
    caption_dropout: float
    noise_offset: float
    ema_decay: float
    stages: tuple[DenoiserStageConfig, ...]
    unet: UNetConfig | None = None
    transformer: TransformerConfig | None = None


@dataclass(frozen=True)
class PretrainConfig:
    """Everything `python -m testbed.pretrain` reads.

    Args:
        seed: Fixes data, noise and initial weights.
        num_threads: CPU threads.
        checkpoint_minutes: Time between two checkpoints.
        state_dir: Folder of the training states.
        model_dir: Folder of the exported base.
        clip_dir: Folder of the small CLIP: exported there, or taken from there without `text`.
        denoiser: Settings of the denoiser.
        autoencoder: Settings of the autoencoder; without them that of `autoencoder_dir` is taken.
        autoencoder_dir: Folder of an exported autoencoder.
        text: Settings of the small CLIP; without them that of `clip_dir` is taken.
    """

    seed: int
    num_threads: int
    checkpoint_minutes: float
    state_dir: Path
    model_dir: Path
    clip_dir: Path
    denoiser: DenoiserConfig
    autoencoder: AutoencoderConfig | None = None
    autoencoder_dir: Path | None = None
    text: TextConfig | None = None


def load_config(path: Path) -> PretrainConfig:
    """Read the settings from a YAML file.

    Args:
        path: The file.

    Returns:
        The settings; every key without a default must be there and no other.

    Raises:
        UserError: The file is missing, or a key is unknown, missing or of the wrong type, or of
            two parts of which one is needed both are there or none.
    """
    config = _parse(PretrainConfig, read_yaml(path), str(path))
    assert isinstance(config, PretrainConfig)
    _require_one(path, "", config, ("autoencoder", "autoencoder_dir"))
    _require_one(path, "denoiser: ", config.denoiser, ("unet", "transformer"))
    return config


def _require_one(path: Path, place: str, section: Any, names: tuple[str, str]) -> None:
    """Refuse a section that has both of two alternatives, or none."""
    if sum(getattr(section, name) is not None for name in names) != 1:
        raise UserError(f"{path}: {place}expected either {names[0]!r} or {names[1]!r}")


def _parse(kind: Any, value: Any, place: str) -> Any:
    """Turn plain YAML values into the annotated type, or say at which place it fails."""
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise UserError(f"{place}: expected keys and values, found {value!r}")
        kinds = {field.name: field.type for field in fields(kind)}
        optional = {field.name for field in fields(kind) if field.default is not MISSING}
        for key in value:
            if key not in kinds:
                raise UserError(f"{place}: unknown key {key!r}.{did_you_mean(str(key), kinds)}")
        for key in kinds:
            if key not in value and key not in optional:
                raise UserError(f"{place}: missing key {key!r}")
        assert isinstance(kind, type)
        return kind(**{key: _parse(kinds[key], value[key], f"{place}: {key}") for key in value})
    if isinstance(kind, UnionType):  # X | None
        return None if value is None else _parse(kind.__args__[0], value, place)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UserError(f"{place}: expected {' or '.join(get_args(kind))}, found {value!r}")
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise UserError(f"{place}: expected a list, found {value!r}")
        return tuple(_parse(kind.__args__[0], item, place) for item in value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    raise UserError(f"{place}: expected {kind.__name__}, found {value!r}")
