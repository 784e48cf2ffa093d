"""Base models with random weights in Zeroscope's layout: they draw noise, but run everything.

`python -m testbed.random_base FOLDER` writes a small one, for trying the programs without a
download; `--full-size` writes Zeroscope's own architecture, for measuring time and memory.
"""

import json
from pathlib import Path
from typing import Any

from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.config.bounds import whole_number
from motionmatcher.config.settings import MAX_SEED
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
    import torch
    from diffusers import AutoencoderKL, UNet3DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = write_character_tokenizer(folder / "tokenizer")
    text_config = CLIPTextConfig(
        **{"vocab_size": len(tokenizer), "max_position_embeddings": 77, **sizes["text_encoder"]},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    _write_json(
        folder / "scheduler" / "scheduler_config.json",
        {**SCHEDULER_CONFIG, "prediction_type": prediction_type},
    )
    with torch.random.fork_rng(devices=[]), torch.device("meta" if configs_only else "cpu"):
        torch.manual_seed(seed)
        parts = {
            "unet": UNet3DConditionModel(**sizes["unet"]),
            "vae": AutoencoderKL(**sizes["vae"], **_VAE_BLOCKS),
            "text_encoder": CLIPTextModel(text_config),
        }
        for name, part in parts.items():
            if configs_only:
                (folder / name).mkdir(parents=True, exist_ok=True)
                save_config = getattr(part, "save_config", None) or part.config.save_pretrained
                save_config(folder / name)
                continue
            for weight in part.parameters():
                if not weight.any():
                    torch.nn.init.normal_(weight, std=0.05)
            part.save_pretrained(folder / name)
    classes = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    classes["text_encoder"][0] = "transformers"
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": "TextToVideoSDPipeline",
            **classes,
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"],
        },
    )
    return folder


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


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = ArgumentParser(prog="python -m testbed.random_base", description=__doc__)
    parser.add_argument("folder", type=user_path)
    parser.add_argument("--full-size", action="store_true", help="Zeroscope's own architecture")
    parser.add_argument("--configs-only", action="store_true", help="write no weights")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0)
    arguments = parser.parse_args()
    sizes = FULL_SIZE if arguments.full_size else SMALL
    write_random_base(
        arguments.folder, sizes, configs_only=arguments.configs_only, seed=arguments.seed
    )
    print(arguments.folder)


if __name__ == "__main__":
    run(main)
