"""Settings are read from YAML, checked, and written again."""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT

from motionmatcher.config.declaration import setting
from motionmatcher.config.documentation import document_settings
from motionmatcher.config.loading import (
    idle_keys,
    load_settings,
    parse_settings,
    read_settings,
    write_settings,
)
from motionmatcher.config.settings import WITHOUT_EFFECT, TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.paths import expand_home

CONFIGS = PROJECT / "configs"

# A file of the published form, with every key that the published program takes.
PUBLISHED = """\
pretrained_model_path: "./models/zeroscope_v2_576w/"
output_dir: "./outputs/train/cat"
cache_latents: true
cached_latent_dir:
use_unet_lora: true
lora_unet_dropout: 0.05
save_pretrained_model: false
lora_rank: 16
lora_path: ""

train_data:
  width: 320
  height: 256
  use_bucketing: true
  sample_start_idx: 3
  fps: 12
  frame_step: 2
  n_sample_frames: 12
  single_video_path: "./reference_videos/cat/cat.mp4"
  single_video_prompt: "A cat is moving in the sunshine."

validation_data:
  prompt:
    - "A Rottweiler is moving."
    - "A duck is moving."
  sample_preview: false
  num_frames: 14
  width: 312
  height: 248
  num_inference_steps: 60
  guidance_scale: 9
  lora_scale: 0.8
  noise_prior: 0.25

motion_extractor:
  num_denoise_steps: 2
  spatial_scale_factor: 2
  temporal_scale_factor: 8

loss_weights:
  spatial_loss: 1500
  temporal_loss: 2.5e+3

min_timestep: 400
train_batch_size: 2
learning_rate: 3e-4
adam_weight_decay: 2e-2
max_train_steps: 300
checkpointing_steps: 25
validation_steps: 75
mixed_precision: no
gradient_checkpointing: true
text_encoder_gradient_checkpointing: false
enable_xformers_memory_efficient_attention: false
enable_torch_2_attn: true

seed: 64
lr_scheduler: cosine
lr_warmup_steps: 10
adam_beta1: 0.8
adam_beta2: 0.99
adam_epsilon: 1e-9
gradient_accumulation_steps: 4
use_8bit_adam: false
resume_from_checkpoint:
use_offset_noise: true
offset_noise_strength: 0.2
rescale_schedule: false
logger_type: tensorboard
"""
READ: dict[str, Any] = {
    "pretrained_model_path": "./models/zeroscope_v2_576w/",
    "output_dir": "./outputs/train/cat",
    "cache_latents": True,
    "cached_latent_dir": None,
    "use_unet_lora": True,
    "lora_unet_dropout": 0.05,
    "save_pretrained_model": False,
    "lora_rank": 16,
    "lora_path": None,
    "train_data": {
        "width": 320,
        "height": 256,
        "use_bucketing": True,
        "sample_start_idx": 3,
        "fps": 12.0,
        "frame_step": 2,
        "n_sample_frames": 12,
        "single_video_path": "./reference_videos/cat/cat.mp4",
        "single_video_prompt": "A cat is moving in the sunshine.",
    },
    "validation_data": {
        "prompt": ["A Rottweiler is moving.", "A duck is moving."],
        "sample_preview": False,
        "num_frames": 14,
        "width": 312,
        "height": 248,
        "num_inference_steps": 60,
        "guidance_scale": 9.0,
        "lora_scale": 0.8,
        "noise_prior": 0.25,
    },
    "motion_extractor": {
        "num_denoise_steps": 2,
        "spatial_scale_factor": 2,
        "temporal_scale_factor": 8,
    },
    "loss_weights": {"spatial_loss": 1500.0, "temporal_loss": 2500.0},
    "min_timestep": 400,
    "train_batch_size": 2,
    "learning_rate": 3e-4,
    "adam_weight_decay": 0.02,
    "max_train_steps": 300,
    "checkpointing_steps": 25,
    "validation_steps": 75,
    "mixed_precision": "no",
    "gradient_checkpointing": "full",
    "text_encoder_gradient_checkpointing": False,
    "enable_xformers_memory_efficient_attention": False,
    "enable_torch_2_attn": True,
    "seed": 64,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 10,
    "adam_beta1": 0.8,
    "adam_beta2": 0.99,
    "adam_epsilon": 1e-9,
    "gradient_accumulation_steps": 4,
    "use_8bit_adam": False,
    "resume_from_checkpoint": None,
    "use_offset_noise": True,
    "offset_noise_strength": 0.2,
    "rescale_schedule": False,
    "logger_type": "tensorboard",
}
MINIMAL: dict[str, Any] = {
    "pretrained_model_path": "base",
    "train_data": {"single_video_path": "clip.mp4", "single_video_prompt": "A cat."},
}

# name -> clip's prompt, preview's prompt, what differs from the paper's common values
MOTIONS: dict[str, tuple[str, str, dict[str, float]]] = {
    "bear": (
        "A bear is walking on rocks.",
        "An arctic fox is walking on ice.",
        {"max_train_steps": 200, "noise_prior": 0.2},
    ),
    "bus": ("A bus is driving in the city.", "A tiger is walking in the forest.", {}),
    "car_roundabout": (
        "A car is running on the road.",
        "A white horse is running.",
        {"spatial_loss": 8000.0, "temporal_loss": 800.0},
    ),
    "car_turn": ("A car is running on the road", "A tank is running in the desert.", {}),
    "cat": ("A cat is moving in the sunshine.", "A Rottweiler is moving.", {}),
    "dog": ("A dog is sitting.", "A lion is sitting in the snow.", {}),
    "eiffel": (
        "Drone flyover of the Eiffel Tower, sunset.",
        "Drone flyover of the Arc de Triomphe, sunset.",
        {},
    ),
    "gold_fish": (
        "Gold fish are swimming in the fish tank.",
        "Clownfish are swimming in the sea.",
        {},
    ),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(MINIMAL))
    return path


def changed(config: Path, **values: Any) -> Path:
    config.write_text(json.dumps({**MINIMAL, **values}))
    return config


def test_a_published_file_is_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED)
    read = asdict(load_settings(path))
    assert {key: read[key] for key in READ if not isinstance(READ[key], dict)} == {
        key: value for key, value in READ.items() if not isinstance(value, dict)
    }
    for group in ("train_data", "validation_data", "motion_extractor", "loss_weights"):
        assert {key: read[group][key] for key in READ[group]} == READ[group]
    ours = {"objective", "feature_loss", "lora_targets", "compile", "motion_adapter_path"}
    ours |= {"checkpoints_total_limit", "flow_shift", "vae_tiling"}
    assert {entry.name for entry in fields(TrainSettings)} - set(READ) == ours


def test_idle_keys_say_so(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED)
    assert idle_keys(load_settings(path)) == [
        "enable_torch_2_attn does nothing here: PyTorch's fused attention is always used."
    ]
    every = [f"{key}=true" for key in WITHOUT_EFFECT]
    assert [line.split()[0] for line in idle_keys(load_settings(path, every))] == [
        "save_pretrained_model",
        "text_encoder_gradient_checkpointing",
        "enable_xformers_memory_efficient_attention",
        "enable_torch_2_attn",
    ]


@pytest.mark.parametrize("name", MOTIONS)
def test_the_paper_s_configs(name: str) -> None:
    prompt, preview, exceptions = MOTIONS[name]
    settings = load_settings(CONFIGS / f"config_{name}.yaml")
    data, validation = settings.train_data, settings.validation_data
    assert data.single_video_path == f"reference_videos/{name}/{name}.mp4"
    assert data.single_video_prompt == prompt
    assert validation.prompt == [preview]
    assert (data.width, data.height, data.n_sample_frames) == (384, 384, 16)
    assert not data.use_bucketing
    assert settings.lora_rank == 32
    assert settings.lora_targets == ["attention"]
    assert settings.lora_unet_dropout == 0.1
    assert settings.learning_rate == 5e-4
    assert settings.adam_weight_decay == 1e-2
    assert settings.max_train_steps == exceptions.get("max_train_steps", 400)
    assert settings.checkpointing_steps == settings.validation_steps == 50
    assert validation.num_inference_steps == 75
    assert validation.guidance_scale == 12
    assert validation.noise_prior == exceptions.get("noise_prior", 0.3)
    assert settings.motion_extractor.num_denoise_steps == 1
    assert settings.motion_extractor.spatial_scale_factor == 4
    assert settings.motion_extractor.temporal_scale_factor == 4
    assert settings.loss_weights.spatial_loss == exceptions.get("spatial_loss", 2000)
    assert settings.loss_weights.temporal_loss == exceptions.get("temporal_loss", 2000)
    assert settings.min_timestep == 500
    assert settings.train_batch_size == 1
    assert settings.mixed_precision == "fp16"
    assert settings.pretrained_model_path == "models/zeroscope_v2_576w/"


def test_the_list_of_all_settings_is_up_to_date() -> None:
    lines = (CONFIGS / "all_settings.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[2:] == document_settings().splitlines()


def test_defaults(config: Path) -> None:
    settings = load_settings(config)
    assert settings.learning_rate == 5e-4
    assert settings.validation_data.prompt == []
    assert settings.validation_data.width is None
    assert settings.lora_targets == ["attention"]
    assert idle_keys(settings) == []


def test_written_settings_are_read_again(tmp_path: Path, config: Path) -> None:
    changed(
        config,
        mixed_precision="no",
        adam_epsilon=1e-20,
        checkpoints_total_limit=3,
        output_dir="outputs: 1",
        validation_data={"prompt": ["ünïcode #1", 'a "quote"\nand a line', "yes", "1e3"]},
    )
    settings = load_settings(config)
    write_settings(tmp_path / "run" / "config.yaml", settings)
    assert load_settings(tmp_path / "run" / "config.yaml") == settings


def test_every_documented_default_is_the_default(config: Path) -> None:
    text = document_settings().replace("???", "given")
    config.write_text(text)
    given = {
        "pretrained_model_path": "given",
        "train_data": {"single_video_path": "given", "single_video_prompt": "given"},
    }
    assert load_settings(config) == parse_settings(TrainSettings, given, "test")


def test_the_home_folder_stands_in_every_path(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = ["pretrained_model_path", "output_dir", "lora_path", "cached_latent_dir"]
    keys += ["resume_from_checkpoint", "train_data.single_video_path"]
    settings = load_settings(config, [f"{key}=~/there" for key in keys])
    found = [getattr(settings, key) for key in keys[:-1]] + [settings.train_data.single_video_path]
    assert found == [f"{tmp_path}/there"] * 6
    assert load_settings(config, ["output_dir=./a/~/b"]).output_dir == "./a/~/b"
    overridden = load_settings(config, ["train_data.single_video_prompt=~/ is home"])
    assert overridden.train_data.single_video_prompt == "~/ is home"
    changed(config)
    leaf = config.with_name("leaf.yaml")
    leaf.write_text(f"base: ~/{config.name}\n")
    assert load_settings(leaf) == load_settings(config)


def test_an_overridden_key_wins(config: Path) -> None:
    overrides = [
        "max_train_steps=10",
        "train_data.width=256",
        "learning_rate=1e-3",
        "mixed_precision=no",
        "validation_data.prompt=[A cat., A dog.]",
        "train_data.single_video_prompt=one = two",
        "max_train_steps=20",
    ]
    settings = load_settings(config, overrides)
    assert settings.max_train_steps == 20
    assert settings.train_data.width == 256
    assert settings.train_data.height == 384
    assert settings.train_data.single_video_path == "clip.mp4"
    assert settings.learning_rate == 1e-3
    assert settings.mixed_precision == "no"
    assert settings.validation_data.prompt == ["A cat.", "A dog."]
    assert settings.train_data.single_video_prompt == "one = two"


def test_no_as_precision_is_not_false(config: Path) -> None:
    config.write_text(json.dumps(MINIMAL) + "\n")
    text = "base: config.yaml\nmixed_precision: no\n"
    bare = config.with_name("bare.yaml")
    bare.write_text(text)
    assert load_settings(bare).mixed_precision == "no"


def test_whole_numbers_may_be_written_as_floats(config: Path) -> None:
    settings = load_settings(config, ["max_train_steps=4e2", "train_data.fps=8"])
    assert settings.max_train_steps == 400
    assert isinstance(settings.max_train_steps, int)
    assert isinstance(settings.train_data.fps, float)


def test_one_prompt_is_a_list_of_one(config: Path) -> None:
    settings = load_settings(config, ["validation_data.prompt=A dog., or so"])
    assert settings.validation_data.prompt == ["A dog., or so"]


# Each of these means something else in YAML, or to OmegaConf.
HOSTILE_TEXTS = [
    "a bus with number #42 on a plain gray background",
    "A dog: running",
    "&b dog",
    "*starry* night",
    "'quoted' and not",
    "[close-up] A dog",
    "{A dog}",
    "- A dog",
    "%, @ and `ticks`",
    "no",
    "1e3",
    "~",
    "a price tag of ${5} or ${oc.env:HOME}, ${",
    "back\\slash \\${x} \\\\${y} \\",
    "two\nlines\tand  spaces",
    "a line\u2028separator \u2029 and \x85 more",
    "été, 狗, 🐶, \x1b",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_an_override_of_a_text_is_taken_literally_and_kept(config: Path, text: str) -> None:
    overrides = [f"train_data.single_video_prompt={text}", f"cached_latent_dir={text}"]
    overrides += ["validation_data.prompt=" + text] if text != "- A dog" else []
    settings = load_settings(config, overrides)
    assert settings.train_data.single_video_prompt == text
    assert settings.cached_latent_dir == expand_home(text)
    assert settings.validation_data.prompt in ([text], [])
    written = config.with_name("written.yaml")
    write_settings(written, settings)
    assert load_settings(written) == settings


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("[A cat., 'A dog: it runs #1']", ["A cat.", "A dog: it runs #1"]),
        ("- A cat.\n- A dog.", ["A cat.", "A dog."]),
        ("[red] A dog, [blue] a cat", ["[red] A dog, [blue] a cat"]),
    ],
)
def test_a_list_of_texts_is_yaml_where_it_is_a_yaml_list(
    config: Path, text: str, prompts: list[str]
) -> None:
    settings = load_settings(config, [f"validation_data.prompt={text}"])
    assert settings.validation_data.prompt == prompts


def test_a_list_that_is_no_yaml_is_not_taken_for_a_text(config: Path) -> None:
    with pytest.raises(
        UserError, match=r"^the override 'validation_data.prompt=\[a: b: c\]' is not"
    ):
        load_settings(config, ["validation_data.prompt=[a: b: c]"])


def test_null_unsets_optional_texts_alone(config: Path) -> None:
    settings = load_settings(config, ["lora_path=x", "lora_path=null", "output_dir=null"])
    assert settings.lora_path is None
    assert settings.output_dir == "null"


def test_a_nested_override_ends_in_one_line(config: Path) -> None:
    for key in ("seed", "validation_data.prompt", "train_data"):
        override = f"{key}={50_000 * '['}{50_000 * ']'}"
        with pytest.raises(UserError, match=r"^the override '.* is nested deeper than") as caught:
            load_settings(config, [override])
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{9000 * 'k'}=1", "unknown key 'kkk"),
        (f"seed={9000 * 'x'}", "seed must be a whole number, not 'xxx"),
        (9000 * "x", "is not an override"),
        (f"loss_weights={9000 * 'x'}", "loss_weights must be a group of keys, not 'xxx"),
    ],
)
def test_a_long_value_is_quoted_by_its_beginning(config: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_settings(config, [override])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base: ${oc.env:UNSET}", r"base cannot be resolved \(\"Environment variable 'UNSET' not"),
        ("base: [a.yaml]", r"base must be the path of a file, not \['a.yaml'\]"),
        ("base: config.yaml\nvalidation_data: [1]", r"validation_data must be a group.*\[1\]"),
        ("base: config.yaml\noutput_dir: ${no}", "output_dir cannot be resolved .*'no' not found"),
        ("base: config.yaml\noutput_dir: 5", "output_dir must be a text, not 5"),
    ],
)
def test_a_layer_that_does_not_fit_its_base(config: Path, content: str, message: str) -> None:
    layer = config.with_name("layer.yaml")
    layer.write_text(content)
    with pytest.raises(UserError, match=f"layer.yaml: {message}") as caught:
        load_settings(layer)
    assert "\n" not in str(caught.value)


def test_interpolations_are_resolved_after_the_overrides(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPS", "/clips")
    layer = config.with_name("layer.yaml")
    layer.write_text(
        "base: config.yaml\n"
        "train_data: {height: '${train_data.width}', single_video_path: '${oc.env:CLIPS}/a.mp4'}\n"
    )
    data = load_settings(layer, ["train_data.width=256"]).train_data
    assert (data.height, data.single_video_path) == (256, "/clips/a.mp4")


@pytest.mark.parametrize("key", ["single_video_prompt", "single_video_path"])
def test_a_required_text_is_not_blank(config: Path, key: str) -> None:
    with pytest.raises(UserError, match=rf"config.yaml: train_data.{key} is blank \("):
        load_settings(config, [f"train_data.{key}= "])


def test_a_text_of_bytes_that_are_no_utf8(config: Path) -> None:
    with pytest.raises(UserError, match=r"prompt cannot be written as UTF-8: 'caf\\udce9'\.$"):
        load_settings(config, ["validation_data.prompt=caf\udce9"])


@pytest.mark.parametrize("override", ["seed", "=5", ""])
def test_an_override_without_key_or_value(config: Path, override: str) -> None:
    with pytest.raises(UserError, match=rf"^'{override}' is not an override: expected key=value"):
        load_settings(config, [override])


def test_an_override_that_is_no_yaml(config: Path) -> None:
    with pytest.raises(UserError, match=r"^the override 'seed=\[1' is not valid YAML: while"):
        load_settings(config, ["seed=[1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lerning_rate=1", r"unknown key 'lerning_rate'\. Did you mean 'learning_rate'\?$"),
        ("train_data.widht=1", r"unknown key 'train_data\.widht'\. Did you mean 'width'\?$"),
        (
            "loss_weights.spatial=1",
            "unknown key 'loss_weights.spatial'. Did you mean 'spatial_loss'",
        ),
        ("zzz=1", r"unknown key 'zzz'\.$"),
    ],
)
def test_an_unknown_key_names_the_nearest(config: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_settings(config, [override])
    assert str(caught.value).startswith(f"{config}: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=one", "seed must be a whole number, not 'one'"),
        ("seed=1.5", "seed must be a whole number, not 1.5"),
        ("seed=true", "seed must be a whole number, not True"),
        ("seed=null", "seed must be a whole number, not None"),
        ("learning_rate=fast", "learning_rate must be a number, not 'fast'"),
        ("learning_rate=true", "learning_rate must be a number, not True"),
        ("learning_rate=.nan", "learning_rate must be a finite number, not nan"),
        ("train_data=5", "train_data must be a group of keys, not 5"),
        ("seed.x=5", "seed must be a whole number, not {'x': 5}"),
        (
            "validation_data.prompt=[1]",
            r"validation_data\.prompt must be a text or a list of texts",
        ),
    ],
)
def test_a_value_of_the_wrong_type(config: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=f": {message}"):
        load_settings(config, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora_rank=0", "lora_rank must be at least 1, not 0"),
        ("train_data.width=7", "train_data.width must be at least 8, not 7"),
        ("train_data.fps=0", "train_data.fps must be at least 0.1, not 0"),
        ("train_data.frame_step=0", "train_data.frame_step must be at least 1, not 0"),
        (
            "train_data.sample_start_idx=-1",
            "train_data.sample_start_idx must be at least 0, not -1",
        ),
        (
            "seed=18446744073709551616",
            "seed must be at most 18446744073709551615, not 1844674407370955161",
        ),
        (
            f"seed={'9' * 400}",
            "seed must be at most 18446744073709551615, not a number of 400 digits",
        ),
        ("validation_data.guidance_scale=1e300", "guidance_scale must be at most 1000, not 1e.300"),
        (
            f"learning_rate={'9' * 400}",
            "learning_rate must be at most 1, not a number of 400 digits",
        ),
        ("validation_data.lora_scale=1e30", "lora_scale must be at most 100, not 1e.30"),
        ("train_batch_size=1e9", "train_batch_size must be at most 10000, not 1000000000"),
        ("train_data.fps=.inf", "train_data.fps must be a finite number, not inf"),
        ("lora_unet_dropout=1", "lora_unet_dropout must be at most 0.99, not 1"),
        ("lora_unet_dropout=-0.1", "lora_unet_dropout must be at least 0, not -0.1"),
        ("validation_data.noise_prior=1.5", "noise_prior must be at most 1, not 1.5"),
        ("validation_data.num_frames=0", "validation_data.num_frames must be at least 1, not 0"),
        ("adam_epsilon=0", "adam_epsilon must be at least 1e-30, not 0"),
        ("adam_beta1=1", "adam_beta1 must be at most 0.9999, not 1"),
        ("min_timestep=0", "min_timestep must be at least 1, not 0"),
        ("checkpoints_total_limit=0", "checkpoints_total_limit must be at least 1, not 0"),
        ("mixed_precision=fp8", "mixed_precision must be one of no, fp16, bf16, not 'fp8'."),
        (
            "lr_scheduler=cosin",
            "lr_scheduler must be one of .*, not 'cosin'. Did you mean 'cosine'",
        ),
        (
            "validation_data.scheduler=dpm",
            "validation_data.scheduler must be one of ddim, euler, dpm.., unipc, not 'dpm'",
        ),
        ("lora_targets=[attention,conv]", "lora_targets must be one of .*, not 'conv'."),
        (
            "objective=denoise",
            "objective must be one of .*, not 'denoise'. Did you mean 'denoising'",
        ),
        (
            "gradient_checkpointing=1",
            "gradient_checkpointing must be one of none, selective, full, not '1'",
        ),
        ("recompute_activations=2", "recompute_activations must be true or false, not 2"),
        ("logger_type=csv", "logger_type must be one of tensorboard, wandb, not 'csv'"),
    ],
)
def test_a_value_out_of_range(config: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_settings(config, [override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["use_unet_lora=false"], "use_unet_lora: false would train nothing"),
        (
            ["rescale_schedule=true", "use_offset_noise=true"],
            "rescale_schedule and use_offset_noise cure the same thing",
        ),
        (["lr_warmup_steps=5"], "lr_warmup_steps has no effect with lr_scheduler: constant"),
        (
            ["train_data.start_s=1", "train_data.frame_step=2"],
            r"by index \(sample_start_idx 0, frame_step 2\) and by time \(start_s, duration_s\): leave out",
        ),
        (
            ["train_data.duration_s=2", "train_data.sample_start_idx=3"],
            r"\(sample_start_idx 3, frame_step 1\)",
        ),
        (["train_data.start_s=-1"], "train_data.start_s must be at least 0, not -1"),
        (["train_data.duration_s=0"], "train_data.duration_s must be at least 0.001, not 0"),
        (["compile=true", "gradient_checkpointing=selective"], "and compile do not go together"),
        (
            ["gradient_checkpointing=true", "recompute_activations=true"],
            "recompute_activations and gradient_checkpointing save the same memory",
        ),
        (["lora_targets=[]"], "lora_targets is empty: nothing would be trained"),
    ],
)
def test_settings_that_do_not_go_together(config: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_settings(config, overrides)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"gradient_checkpointing": True}, "full"),
        ({"gradient_checkpointing": False}, "none"),
        ({"gradient_checkpointing": "selective"}, "selective"),
        ({"recompute_activations": False}, "none"),
        ({"recompute_activations": False, "gradient_checkpointing": True}, "full"),
        ({"recompute_activations": True, "gradient_checkpointing": False}, "selective"),
    ],
)
def test_older_forms_of_gradient_checkpointing_are_read(
    config: Path, values: dict[str, Any], chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(config, **values)
    assert load_settings(path).gradient_checkpointing == chosen
    noted = f"note: {path}: recompute_activations is read as gradient_checkpointing: selective"
    assert (noted in capsys.readouterr().out) is (values.get("recompute_activations") is True)
    assert load_settings(path, recorded=True).gradient_checkpointing == chosen
    assert capsys.readouterr().out == ""
    words = [f"{key}={str(value).lower()}" for key, value in values.items()]
    assert load_settings(changed(config), words).gradient_checkpointing == chosen


def test_settings_at_the_edge_of_a_combination(config: Path) -> None:
    warmed_up = ["lr_warmup_steps=5", "lr_scheduler=constant_with_warmup"]
    assert load_settings(config, warmed_up).lr_warmup_steps == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"pretrained_model_path is missing \(base model: a folder"),
        (
            {"pretrained_model_path": "m"},
            r"train_data\.single_video_path is missing \(the reference",
        ),
    ],
)
def test_a_missing_key(config: Path, values: dict[str, Any], message: str) -> None:
    config.write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"config.yaml: {message}"):
        load_settings(config)


def test_a_chain_of_bases(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    root = {**MINIMAL, "seed": 1, "lora_rank": 4, "max_train_steps": 7}
    (tmp_path / "common" / "root.yaml").write_text(json.dumps(root))
    (tmp_path / "common" / "middle.yaml").write_text(
        "base: root.yaml\nlora_rank: 8\nmax_train_steps: 9\ntrain_data: {width: 256}\n"
    )
    leaf = tmp_path / "leaf.yaml"
    leaf.write_text("base: common/middle.yaml\nmax_train_steps: 11\ntrain_data: {height: 192}\n")
    settings = load_settings(leaf, ["train_data.fps=5"])
    assert (settings.seed, settings.lora_rank, settings.max_train_steps) == (1, 8, 11)
    data = settings.train_data
    assert (data.width, data.height, data.fps) == (256, 192, 5)
    assert data.single_video_path == "clip.mp4"


@pytest.mark.parametrize("length", [1, 2])
def test_a_base_that_leads_back_to_itself(tmp_path: Path, length: int) -> None:
    for index in range(length):
        path = tmp_path / f"{index}.yaml"
        path.write_text(f"base: {(index + 1) % length}.yaml\n")
    with pytest.raises(UserError, match=r"0\.yaml: its 'base' leads back to itself"):
        load_settings(tmp_path / "0.yaml")


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "leaf.yaml").write_text("base: root.yaml\n")
    with pytest.raises(UserError, match=r"root\.yaml: there is no such file"):
        load_settings(tmp_path / "leaf.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train_data:\n\twidth: 1\n", "is not valid YAML: while scanning"),
        (b"seed: 1\nseed: 2\n", "is not valid YAML: .* found duplicate key seed"),
        (b"seed: 1 # f\xfcr\n", "is not UTF-8 .*: its line 1 has the byte 0xfc"),
        (b"seed: !!int x\n", "is not valid YAML: a value does not fit its tag"),
        (b"seed: 1" + 5000 * b"0", "is not valid YAML: a value .* has too many digits"),
        (b"seed: " + 50_000 * b"[", "is nested deeper than 32 levels"),
        (b"- seed\n- 1\n", "must be a list of `key: value` lines"),
    ],
)
def test_a_file_that_holds_no_settings(config: Path, content: bytes, message: str) -> None:
    config.write_bytes(content)
    with pytest.raises(UserError, match=f"config.yaml {message}") as caught:
        load_settings(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rate=.inf", "learning_rate must be a finite number"),
        ("lora_targets=[attention,attention]", "lora_targets names a kind twice"),
        ("lora_targets=[]", "lora_targets is empty"),
    ],
)
def test_values_that_slip_through_easily(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_settings(minimal_file(tmp_path), [override])


@pytest.mark.parametrize("prompt", ["", "null", "['']", " "])
def test_an_empty_preview_prompt_is_none(tmp_path: Path, prompt: str) -> None:
    settings = load_settings(minimal_file(tmp_path), [f"validation_data.prompt={prompt}"])
    assert settings.validation_data.prompt == []


def test_a_value_left_to_be_given(tmp_path: Path) -> None:
    file = minimal_file(tmp_path)
    file.write_text(file.read_text().replace("model_path: base", "model_path: ???"))
    with pytest.raises(UserError, match="pretrained_model_path is missing"):
        load_settings(file)


def test_a_file_that_is_one_number(tmp_path: Path) -> None:
    (tmp_path / "number.yaml").write_text("5\n")
    with pytest.raises(UserError, match=r"number\.yaml"):
        load_settings(tmp_path / "number.yaml")


def minimal_file(folder: Path) -> Path:
    file = folder / "minimal.yaml"
    file.write_text(
        "pretrained_model_path: base\n"
        "train_data: {single_video_path: clip.mp4, single_video_prompt: A clip.}\n"
    )
    return file


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage."""

    rates: tuple[float, ...] = setting(..., "learning rates", minimum=0, maximum=1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Keys of other kinds than the training's."""

    folder: Path = setting(..., "where to write", is_path=True)
    stages: list[Stage] = setting([], "the stages")
    last: Stage | None = setting(None, "one more")
    kinds: list[str] = setting([], "of stages", choices=("short", "long"))
    variants: list[list[str]] = setting([], "overrides")


def test_any_dataclass_of_settings_is_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("folder: ~/runs\nstages: [{rates: [0, 0.5]}, {rates: []}]\n")
    second.write_text("last: {rates: [1]}\nvariants: [[a=1, b=2], [c=3]]\nkinds: [long]\n")
    assert read_settings(Recipe, first, second) == Recipe(
        folder=Path.home() / "runs",
        stages=[Stage(rates=(0.0, 0.5)), Stage(rates=())],
        last=Stage(rates=(1.0,)),
        kinds=["long"],
        variants=[["a=1", "b=2"], ["c=3"]],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {rates: [1]}", r"stages must be a list, not \{'rates'"),
        ("stages: [3]", r"stages\[0\] must be a group of keys, not 3"),
        ("stages: [{rates: [0, 2]}]", r"stages\[0\]\.rates must be at most 1, not 2"),
        ("stages: [{rate: [1]}]", r"unknown key 'stages\[0\]\.rate'\. Did you mean 'rates'"),
        ("stages: [{}]", r"stages\[0\]\.rates is missing \(learning rates\)"),
        ("last: [1]", r"last must be a group of keys, not \[1\]"),
        ("kinds: [long, shirt]", r"kinds must be one of short, long, not 'shirt'\. .*'short'"),
        ("folder: 3", r"folder must be a text, not 3"),
        ("folder: ''", r"folder is blank \(where to write\)"),
    ],
)
def test_entry_of_a_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if "folder" in text else f"folder: here\n{text}")
    with pytest.raises(UserError, match=rf"recipe\.yaml: {message}"):
        read_settings(Recipe, path)
