"""Base models with random weights in the layout of real ones: they draw noise, but run everything.

`python -m testbed.random_base FOLDER` writes a small one in Zeroscope's layout, for trying the
programs without a download, with `--kind wan` one in Wan's, and with `--kind animatediff` one in
AnimateDiff's; `--full-size` writes the architecture of Zeroscope, of Wan 2.1 T2V 1.3B, or of
AnimateDiff on Stable Diffusion 1.5, for measuring time and memory.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.config.bounds import MAX_SEED, whole_number
from motionmatcher.paths import user_path

SCHEDULER_CONFIG = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
# AnimateDiff's, whose motion modules were trained with other betas than Stable Diffusion.
ANIMATEDIFF_SCHEDULER_CONFIG = {
    **SCHEDULER_CONFIG,
    "beta_schedule": "linear",
    "timestep_spacing": "linspace",
}
Sizes = dict[str, dict[str, Any]]

SMALL: Sizes = {
    "unet": {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
        "up_block_types": ("CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
    },
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1, "sample_size": 64},
    "text_encoder": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}
# Zeroscope v2 576w: a UNet of 1.41 B parameters, Stable Diffusion's VAE, OpenCLIP's ViT-H text side.
FULL_SIZE: Sizes = {
    "unet": {"sample_size": 32, "cross_attention_dim": 1024, "attention_head_dim": 64},
    "vae": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512},
    "text_encoder": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
    },
}
ANIMATEDIFF_SMALL: Sizes = {
    "unet": {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
        "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
        "layers_per_block": 1,
        "num_attention_heads": 4,
        "motion_num_attention_heads": 4,
        "cross_attention_dim": 32,
    },
    "vae": SMALL["vae"],
    "text_encoder": SMALL["text_encoder"],
}
# Stable Diffusion 1.5 with a motion adapter: a UNet of 1.31 B parameters, CLIP's ViT-L text side.
ANIMATEDIFF_FULL_SIZE: Sizes = {
    "unet": {"sample_size": 64, "cross_attention_dim": 768},
    "vae": FULL_SIZE["vae"],
    "text_encoder": {
        "vocab_size": 49_408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
}
# Of Wan 2.1 T2V 1.3B.
WAN_SCHEDULER_CONFIG = {
    "_class_name": "UniPCMultistepScheduler",
    "flow_shift": 3.0,
    "num_train_timesteps": 1000,
    "prediction_type": "flow_prediction",
    "solver_order": 2,
    "use_flow_sigmas": True,
}
WAN_SMALL: Sizes = {
    "transformer": {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "num_layers": 3,
        "ffn_dim": 48,
        "freq_dim": 16,
        "text_dim": 32,
    },
    "vae": {"base_dim": 8, "num_res_blocks": 1},
    "text_encoder": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 2},
}
# Wan 2.1 T2V 1.3B: a transformer of 1.42 B parameters, and UMT5-XXL's encoder.
WAN_FULL_SIZE: Sizes = {
    "transformer": {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960},
    "vae": {},
    "text_encoder": {
        "vocab_size": 256_384,
        "d_model": 4096,
        "d_ff": 10_240,
        "num_heads": 64,
        "num_layers": 24,
    },
}
_VAE_BLOCKS = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}


def write_random_base(
    folder: Path,
    sizes: Sizes = SMALL,
    prediction_type: str = "epsilon",
    configs_only: bool = False,
    seed: int = 0,
) -> Path:
    """Write a base model with random weights.

    Nothing is left zero-initialised, so that every part of the network has an effect.

    Args:
        folder: Gets the diffusers layout.
        sizes: Architecture of UNet, VAE and text encoder.
        prediction_type: "epsilon" or "v_prediction".
        configs_only: Write no weights.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from diffusers import UNet3DConditionModel

    schedule = {**SCHEDULER_CONFIG, "prediction_type": prediction_type}
    with _weights(configs_only, seed):
        networks = {"unet": UNet3DConditionModel(**sizes["unet"])}
        _write_frame_base(folder, "TextToVideoSDPipeline", networks, sizes, schedule, configs_only)
    return folder


def write_random_animatediff(
    folder: Path, sizes: Sizes = ANIMATEDIFF_SMALL, configs_only: bool = False, seed: int = 0
) -> Path:
    """Write a base model with random weights as `AnimateDiffPipeline` has them.

    Its `motion_adapter/` holds the motion modules of its UNet once more, as those folders do.

    Args:
        folder: Gets the diffusers layout.
        sizes: Architecture of UNet, VAE and text encoder.
        configs_only: Write no weights.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from diffusers import MotionAdapter, UNetMotionModel

    with _weights(configs_only, seed):
        unet = UNetMotionModel(**sizes["unet"])
        adapter = MotionAdapter(
            block_out_channels=unet.config.block_out_channels,
            motion_layers_per_block=unet.config.layers_per_block,
            motion_num_attention_heads=unet.config.motion_num_attention_heads,
        )
        if not configs_only:
            _fill_zeros(unet)
            states = unet.state_dict()
            adapter.load_state_dict({name: states[name] for name in adapter.state_dict()})
        _write_frame_base(
            folder,
            "AnimateDiffPipeline",
            {"unet": unet, "motion_adapter": adapter},
            sizes,
            ANIMATEDIFF_SCHEDULER_CONFIG,
            configs_only,
        )
    return folder


def _write_frame_base(
    folder: Path,
    pipeline: str,
    networks: Mapping[str, Any],
    sizes: Sizes,
    schedule: Mapping[str, Any],
    configs_only: bool,
) -> None:
    """Write networks with a VAE of single frames and CLIP's text encoder."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = write_character_tokenizer(folder / "tokenizer")
    text_config = CLIPTextConfig(
        **{"vocab_size": len(tokenizer), "max_position_embeddings": 77, **sizes["text_encoder"]},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    _write_json(folder / "scheduler" / "scheduler_config.json", dict(schedule))
    parts = {
        **networks,
        "vae": AutoencoderKL(**sizes["vae"], **_VAE_BLOCKS),
        "text_encoder": CLIPTextModel(text_config),
    }
    _write_parts(folder, parts, configs_only)
    _write_index(folder, pipeline, parts, "CLIPTokenizer", "DDIMScheduler")


def write_random_wan(
    folder: Path, sizes: Sizes = WAN_SMALL, configs_only: bool = False, seed: int = 0
) -> Path:
    """Write a base model with random weights as `WanPipeline` has them.

    Args:
        folder: Gets the diffusers layout.
        sizes: Architecture of transformer, VAE and text encoder.
        configs_only: Write no weights.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = _write_character_t5_tokenizer(folder / "tokenizer")
    text_config = UMT5Config(**{"vocab_size": len(tokenizer), **sizes["text_encoder"]})
    _write_json(folder / "scheduler" / "scheduler_config.json", WAN_SCHEDULER_CONFIG)
    with _weights(configs_only, seed):
        parts = {
            "transformer": WanTransformer3DModel(**sizes["transformer"]),
            "vae": AutoencoderKLWan(**sizes["vae"]),
            "text_encoder": UMT5EncoderModel(text_config),
        }
        _write_parts(folder, parts, configs_only)
    _write_index(folder, "WanPipeline", parts, "T5TokenizerFast", "UniPCMultistepScheduler")
    return folder


@contextmanager
def _weights(configs_only: bool, seed: int) -> Iterator[None]:
    """Make networks within the block: seeded, or without weights."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta" if configs_only else "cpu"):
        torch.manual_seed(seed)
        yield


def _write_parts(folder: Path, parts: Mapping[str, Any], configs_only: bool) -> None:
    """Write networks, none of their weights zero."""
    for name, part in parts.items():
        if configs_only:
            (folder / name).mkdir(parents=True, exist_ok=True)
            save_config = getattr(part, "save_config", None) or part.config.save_pretrained
            save_config(folder / name)
            continue
        _fill_zeros(part)
        part.save_pretrained(folder / name)


def _fill_zeros(network: Any) -> None:
    from torch import nn

    for weight in network.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.05)


def _write_index(
    folder: Path, pipeline: str, parts: Mapping[str, Any], tokenizer: str, scheduler: str
) -> None:
    classes = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    classes["text_encoder"][0] = "transformers"
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": pipeline,
            **classes,
            "tokenizer": ["transformers", tokenizer],
            "scheduler": ["diffusers", scheduler],
        },
    )


def write_character_tokenizer(folder: Path) -> Any:
    """Write a CLIP tokenizer that knows single characters only, and return it."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    characters = list(bytes_to_unicode().values())
    tokens = [*characters, *(f"{character}</w>" for character in characters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _write_character_t5_tokenizer(folder: Path) -> Any:
    """Write a T5 tokenizer that knows single characters only, and return it."""
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(character, -2.0) for character in ("▁", *map(chr, range(33, 127)))]
    tokenizer = T5Tokenizer(vocab=[*special, *pieces], extra_ids=0, model_max_length=512)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = ArgumentParser(prog="python -m testbed.random_base", description=__doc__)
    parser.add_argument("folder", type=user_path)
    parser.add_argument("--kind", choices=("zeroscope", "wan", "animatediff"), default="zeroscope")
    parser.add_argument("--full-size", action="store_true", help="the real one's architecture")
    parser.add_argument("--configs-only", action="store_true", help="write no weights")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0)
    arguments = parser.parse_args()
    how = {"configs_only": arguments.configs_only, "seed": arguments.seed}
    if arguments.kind == "wan":
        sizes = WAN_FULL_SIZE if arguments.full_size else WAN_SMALL
        write_random_wan(arguments.folder, sizes, **how)
    elif arguments.kind == "animatediff":
        sizes = ANIMATEDIFF_FULL_SIZE if arguments.full_size else ANIMATEDIFF_SMALL
        write_random_animatediff(arguments.folder, sizes, **how)
    else:
        sizes = FULL_SIZE if arguments.full_size else SMALL
        write_random_base(arguments.folder, sizes, **how)
    print(arguments.folder)


if __name__ == "__main__":
    run(main)
