"""What the config files of a base model must say for a model to be built of them.

The libraries that build the parts trust these files: what is wrong in one would come up as an error
of theirs in the middle of the work, or not at all.
"""

from collections.abc import Collection
from typing import Any

from motionmatcher.bases.config_file import MAX_CHANNELS, BaseConfig, shown
from motionmatcher.config.bounds import check_bounds
from motionmatcher.config.settings import MAX_TIMESTEPS
from motionmatcher.errors import UserError

_MAX_LAYERS = 1000
_DOWN_BLOCKS = ("DownBlock3D", "CrossAttnDownBlock3D")
_UP_BLOCKS = ("UpBlock3D", "CrossAttnUpBlock3D")
_VAE_DOWN_BLOCKS = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")
_VAE_UP_BLOCKS = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")


def check_unet(config: BaseConfig) -> None:
    """Check `unet/config.json`.

    Raises:
        UserError: Names the file and the key that no UNet can be built with.
    """
    from diffusers.models.activations import ACT2CLS

    config.whole("in_channels", 1, MAX_CHANNELS)
    config.whole("out_channels", 1, MAX_CHANNELS)
    config.whole("layers_per_block", 1, _MAX_LAYERS)
    config.whole("cross_attention_dim", 1, MAX_CHANNELS)
    config.whole("downsample_padding", 0, 1, default=1)
    config.number("norm_eps", 0, 1, default=1e-5)
    config.number("mid_block_scale_factor", 1e-6, 1e6, default=1)
    config.choice("act_fn", ACT2CLS, default="silu")
    channels = config.channels("block_out_channels", _num_groups(config))
    _check_blocks(config, channels, _DOWN_BLOCKS, _UP_BLOCKS)
    if "CrossAttnDownBlock3D" not in config.content["down_block_types"]:
        config.refuse("down_block_types", "name a CrossAttnDownBlock3D, which motion is read from")
    # Despite the key's name, diffusers takes it for both; see the UNet's own comment.
    config.whole("attention_head_dim", 1, min(channels))
    if config.content.get("num_attention_heads") is not None:
        config.refuse("num_attention_heads", "be null, for diffusers takes attention_head_dim")
    if config.content["out_channels"] != config.content["in_channels"]:
        config.refuse("out_channels", f"be in_channels {config.content['in_channels']}")


def check_vae(config: BaseConfig) -> None:
    """Check `vae/config.json`.

    Raises:
        UserError: Names the file and the key that no autoencoder of frames can be built with.
    """
    from diffusers.models.activations import ACT2CLS

    config.choice("_class_name", ("AutoencoderKL",))
    for key in ("in_channels", "out_channels"):
        config.whole(key, 3, 3)
    config.whole("latent_channels", 1, MAX_CHANNELS)
    config.whole("layers_per_block", 1, _MAX_LAYERS)
    config.number("scaling_factor", 1e-6, 1e6, default=0.18215)
    config.choice("act_fn", ACT2CLS, default="silu")
    channels = config.channels("block_out_channels", _num_groups(config))
    _check_blocks(config, channels, _VAE_DOWN_BLOCKS, _VAE_UP_BLOCKS)


def check_text_encoder(config: BaseConfig) -> None:
    """Check `text_encoder/config.json`; the defaults are transformers' own.

    Raises:
        UserError: Names the file and the key that no text encoder can be built with.
    """
    from transformers.activations import ACT2CLS

    config.choice("model_type", ("clip_text_model",), default="clip_text_model")
    width = config.whole("hidden_size", 1, MAX_CHANNELS, default=512)
    heads = config.whole("num_attention_heads", 1, width, default=8)
    if width % heads:
        config.refuse("num_attention_heads", f"divide hidden_size {width}")
    config.whole("intermediate_size", 1, MAX_CHANNELS, default=2048)
    config.whole("num_hidden_layers", 1, _MAX_LAYERS, default=12)
    config.whole("vocab_size", 3, 10_000_000, default=49408)
    config.whole("max_position_embeddings", 3, MAX_CHANNELS, default=77)
    config.choice("hidden_act", ACT2CLS, default="quick_gelu")


def check_scheduler(config: BaseConfig) -> None:
    """Check `scheduler/scheduler_config.json`; the defaults are diffusers' own.

    Raises:
        UserError: Names the file and the key that gives no noise schedule.
    """
    if not isinstance(config.content.get("_class_name", ""), str):
        config.refuse("_class_name", "be the name of a scheduler")
    num_timesteps = config.whole("num_train_timesteps", 2, MAX_TIMESTEPS, default=1000)
    config.whole("steps_offset", 0, num_timesteps - 1, default=0)
    config.choice("timestep_spacing", ("leading", "trailing", "linspace"), default="leading")
    for key in ("set_alpha_to_one", "rescale_betas_zero_snr", "clip_sample", "thresholding"):
        config.switch(key)
    prediction_type = config.content.get("prediction_type", "epsilon")
    if prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            f"{config.file}: prediction_type {shown(prediction_type)} is not supported; "
            "expected epsilon or v_prediction."
        )
    betas = config.content.get("trained_betas")
    if betas is None:
        config.choice(
            "beta_schedule", ("linear", "scaled_linear", "squaredcos_cap_v2"), default="linear"
        )
        config.number("beta_start", 0, 1, default=0.0001)
        config.number("beta_end", 0, 1, default=0.02)
    elif not isinstance(betas, list) or len(betas) != num_timesteps:
        config.refuse("trained_betas", f"be null or a list of {num_timesteps} numbers")
    else:
        for beta in betas:
            if not isinstance(beta, int | float):
                config.refuse("trained_betas", "be null or a list of numbers")
            check_bounds(beta, 0, 1, f"{config.file}: trained_betas")
    _check_alphas(config)


def check_parts_match(unet: BaseConfig, vae: BaseConfig, text_encoder: BaseConfig) -> None:
    """Check that the parts are of one model.

    Raises:
        UserError: Names both files and the widths that differ.
    """
    width, states = (
        unet.content["cross_attention_dim"],
        text_encoder.content.get("hidden_size", 512),
    )
    if width != states:
        raise UserError(
            f"{unet.file}: cross_attention_dim {width} must be the text encoder's hidden_size {states} "
            f"({text_encoder.file}): they are of different models."
        )
    channels, latents = unet.content["in_channels"], vae.content["latent_channels"]
    if channels != latents:
        raise UserError(
            f"{unet.file}: in_channels {channels} must be the VAE's latent_channels {latents} "
            f"({vae.file}): they are of different models."
        )


def check_vocabulary(config: BaseConfig, text_encoder: BaseConfig) -> None:
    """Check that the text encoder knows every token, by `tokenizer.json` or `vocab.json`.

    Raises:
        UserError: Names the file, and what is wrong with its tokens.
    """
    vocabulary: Any = config.content
    if config.file.name == "tokenizer.json":
        model = vocabulary.get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    if not ids or not all(isinstance(token, int) for token in ids):
        raise UserError(f"{config.file} is damaged: it holds no vocabulary of texts and numbers.")
    known = text_encoder.content.get("vocab_size", 49408)
    if max(ids) >= known:
        raise UserError(
            f"{config.file}: its tokens go up to {max(ids)}, but the text encoder knows {known} "
            f"({text_encoder.file}, vocab_size): they are of different models."
        )


def num_tokens(tokenizer: BaseConfig, text_encoder: BaseConfig) -> int:
    """Give the length of an encoded prompt, which is the text encoder's where the tokenizer has none.

    Tokenizers that were saved without one say nothing, or 1e30.

    Raises:
        UserError: The tokenizer's is no length.
    """
    longest: int = text_encoder.content.get("max_position_embeddings", 77)
    if tokenizer.content.get("model_max_length") is None:
        return longest
    return int(min(tokenizer.number("model_max_length", 3, 1e31), longest))


def _check_blocks(
    config: BaseConfig, channels: list[int], down: Collection[str], up: Collection[str]
) -> None:
    for key, choices in (("down_block_types", down), ("up_block_types", up)):
        if len(config.choices(key, choices)) != len(channels):
            config.refuse(key, f"be {len(channels)}, one for each of block_out_channels")


def _check_alphas(config: BaseConfig) -> None:
    """Check that the signal fades; it may vanish only where the velocity is predicted."""
    from motionmatcher.diffusion.schedules import NoiseSchedule

    schedule = NoiseSchedule.from_config(config.content)
    alphas = schedule.alphas_cumprod
    fades = bool((alphas[1:] <= alphas[:-1]).all()) and float(alphas[-1]) < float(alphas[0])
    vanishes = float(alphas[-1]) <= 0 and schedule.prediction_type == "epsilon"
    if not fades or vanishes:
        raise UserError(
            f"{config.file}: its betas make no noise schedule: the share of signal must fall from timestep "
            "to timestep, and must not end at 0 for prediction_type epsilon."
        )


def _num_groups(config: BaseConfig) -> int:
    return config.whole("norm_num_groups", 1, MAX_CHANNELS, default=32)
