"""A base whose configs are JSON but wrong is refused in one line, before weights are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motionmatcher.bases.layout import find_base
from motionmatcher.errors import UserError

UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER, TOKENIZER = "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"
GONE = object()


@pytest.fixture
def change(base_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy the configs of the small base, with some keys of one file changed or gone."""

    def make(file: str, **values: Any) -> Path:
        ignore = shutil.ignore_patterns("*.safetensors")
        folder = shutil.copytree(base_folder, tmp_path / "base", ignore=ignore)
        content = {**json.loads((folder / file).read_text()), **values}
        kept = {key: value for key, value in content.items() if value is not GONE}
        (folder / file).write_text(json.dumps(kept))
        return folder

    return make


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        (UNET, {"in_channels": GONE}, "the key in_channels is missing"),
        (UNET, {"down_block_types": GONE}, "the key down_block_types is missing"),
        (UNET, {"block_out_channels": 32}, "block_out_channels must be a list, not 32"),
        (UNET, {"block_out_channels": []}, r"block_out_channels must be a list, not \[\]"),
        (UNET, {"block_out_channels": [32, "64"]}, "block_out_channels must be a list of whole"),
        (UNET, {"block_out_channels": [32, 33]}, "must be multiples of norm_num_groups 32"),
        (UNET, {"block_out_channels": [32, 64, 64]}, "down_block_types must be 3, one for each"),
        (UNET, {"block_out_channels": [32, 10**9]}, "block_out_channels must be at most 65536"),
        (UNET, {"attention_head_dim": 0}, "attention_head_dim must be at least 1, not 0"),
        (UNET, {"attention_head_dim": 64}, "attention_head_dim must be at most 32, not 64"),
        (UNET, {"attention_head_dim": [8]}, r"attention_head_dim must be a whole number, not \[8\]"),
        (UNET, {"num_attention_heads": 8}, "num_attention_heads must be null"),
        (UNET, {"layers_per_block": 0}, "layers_per_block must be at least 1"),
        (UNET, {"act_fn": "swish2"}, "act_fn must be of .*, not 'swish2'. Did you mean 'swish'"),
        (
            UNET,
            {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock3D"]},
            "down_block_types must be of .*, not 'CrossAttnDownBlock2D'. Did you mean 'CrossAttnDownBlock3D'",
        ),
        (UNET, {"down_block_types": ["DownBlock3D"] * 2}, "must name a CrossAttnDownBlock3D"),
        (UNET, {"up_block_types": [5, 6]}, "up_block_types must be of .*, not 5"),
        (UNET, {"cross_attention_dim": 64}, "64 must be the text encoder's hidden_size 32 "),
        (UNET, {"in_channels": 9, "out_channels": 9}, "9 must be the VAE's latent_channels 4 "),
        (UNET, {"out_channels": 8}, "out_channels must be in_channels 4, not 8"),
        (VAE, {"block_out_channels": GONE}, "the key block_out_channels is missing"),
        (VAE, {"scaling_factor": 0}, "scaling_factor must be at least 1e-06, not 0"),
        (VAE, {"scaling_factor": float("nan")}, "NaN is not JSON"),
        (VAE, {"latent_channels": True}, "latent_channels must be a whole number, not true"),
        (VAE, {"in_channels": 1}, "in_channels must be at least 3, not 1"),
        (VAE, {"_class_name": "VQModel"}, "_class_name must be of AutoencoderKL, .*, not 'VQModel'"),
        (TEXT, {"num_attention_heads": 0}, "num_attention_heads must be at least 1, not 0"),
        (TEXT, {"num_attention_heads": 5}, "num_attention_heads must divide hidden_size 32, not 5"),
        (TEXT, {"hidden_act": "relu77"}, "hidden_act must be of .*, not 'relu77'"),
        (TEXT, {"model_type": "t5"}, "model_type must be of clip_text_model, umt5, not 't5'"),
        (TEXT, {"attention_dropout": "much"}, "transformers refuses it: .*'attention_dropout'"),
        (TEXT, {"dtype": "float"}, "dtype must be of float64, float32, .*, not 'float'"),
        (TEXT, {"vocab_size": 100}, "tokens go up to 513, but the text encoder knows 100"),
        (SCHEDULER, {"num_train_timesteps": "many"}, "num_train_timesteps must be a whole number"),
        (SCHEDULER, {"num_train_timesteps": 10**12}, "num_train_timesteps must be at most 100000"),
        (SCHEDULER, {"_class_name": None}, "_class_name must be of DDIMScheduler, .*, not null"),
        (SCHEDULER, {"beta_schedule": "cosin"}, "beta_schedule must be of .*, not 'cosin'"),
        (SCHEDULER, {"beta_end": -0.5}, "beta_end must be at least 0, not -0.5"),
        (SCHEDULER, {"beta_start": 0, "beta_end": 0}, "its betas make no noise schedule"),
        (SCHEDULER, {"beta_end": 1}, "must not end at 0 for prediction_type epsilon"),
        (SCHEDULER, {"trained_betas": [0.1]}, "trained_betas must be null or a list of 1000 numbers"),
        (SCHEDULER, {"steps_offset": 1000}, "steps_offset must be at most 999, not 1000"),
        (SCHEDULER, {"timestep_spacing": 3}, "timestep_spacing must be of leading, .*, not 3"),
        (SCHEDULER, {"set_alpha_to_one": "no"}, "set_alpha_to_one must be true or false, not 'no'"),
        (SCHEDULER, {"prediction_type": [1]}, r"prediction_type must be of epsilon, v_prediction, not \[1\]"),
        (TOKENIZER, {"model_max_length": "77"}, "model_max_length must be a number, not '77'"),
        (TOKENIZER, {"model_max_length": 0}, "model_max_length must be at least 3, not 0"),
        ("tokenizer/tokenizer.json", {"model": []}, "it holds no vocabulary of texts and numbers"),
    ],
)  # fmt: skip
def test_a_wrong_value(
    change: Callable[..., Path], file: str, values: dict[str, Any], message: str
) -> None:
    folder = change(file, **values)
    with pytest.raises(UserError, match=message) as caught:
        find_base(str(folder))
    assert str(folder / file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("content", ["[]", "5", "null", '"unet"', "9" * 5000, "[" * 100_000])
@pytest.mark.parametrize("file", [UNET, SCHEDULER, TOKENIZER])
def test_a_config_that_is_no_group_of_keys(
    change: Callable[..., Path], file: str, content: str
) -> None:
    folder = change(file)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=rf"^{folder / file} .*Copy it anew from where"):
        find_base(str(folder))


@pytest.mark.parametrize(
    ("length", "num_tokens"),
    [
        (GONE, 77),
        (None, 77),
        (1000000000000000019884624838656, 77),  # what transformers writes for no limit
        (1e30, 77),
        (512, 77),
        (20, 20),
    ],
)
def test_the_length_of_a_prompt(change: Callable[..., Path], length: Any, num_tokens: int) -> None:
    layout = find_base(str(change(TOKENIZER, model_max_length=length)))
    assert layout.num_tokens == num_tokens


def test_keys_that_older_publications_lack(change: Callable[..., Path]) -> None:
    folder = change(VAE, scaling_factor=GONE, _diffusers_version=GONE, force_upcast=GONE)
    assert find_base(str(folder)).latent_shape(4, 64, 48) == (4, 4, 6, 8)
