"""A text encoder that is too large to stay: gone before the denoiser is read, and not read in vain.

The base is Zeroscope's denoiser with VAE and text encoder of Wan's kind, as parts go together freely.
"""

import json
import shutil
import weakref
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from motionmatcher.api import generate, resume, train
from motionmatcher.bases import base_model
from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.t5_text import T5Text
from motionmatcher.bases.video_codec import VideoCodec
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_description
from testbed.random_base import SMALL, write_random_base, write_random_wan

CPU = torch.device("cpu")
ENCODER, DENOISER = "text_encoder", "unet"


@pytest.fixture(scope="module")
def mixed_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    unet = {**SMALL["unet"], "in_channels": 16, "out_channels": 16}
    write_random_base(folder, {**SMALL, "unet": unet})
    wan = write_random_wan(tmp_path_factory.mktemp("wan"))
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
        shutil.copytree(wan / part, folder / part)
    return folder


@dataclass
class Reading:
    """Which parts were read, in order, and whether a text encoder was alive at each."""

    parts: list[str] = field(default_factory=list)
    alive: list[bool] = field(default_factory=list)
    encoders: list[weakref.ref] = field(default_factory=list)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    reading, read_part = Reading(), base_model._read_part

    def watched(layout: Any, part: Any, *args: Any, **options: Any) -> Any:
        reading.parts.append(part.folder)
        reading.alive.append(any(encoder() is not None for encoder in reading.encoders))
        model = read_part(layout, part, *args, **options)
        if part.folder == ENCODER:
            reading.encoders.append(weakref.ref(model))
        return model

    monkeypatch.setattr(base_model, "_read_part", watched)
    return reading


@pytest.fixture(scope="module")
def settings(
    mixed_base: Path, run_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> TrainSettings:
    values = {
        **run_values,
        "pretrained_model_path": str(mixed_base),
        "output_dir": str(tmp_path_factory.mktemp("runs")),
        "train_data": {**run_values["train_data"], "n_sample_frames": 5},
        "validation_data": {"prompt": "A circle moves.", "num_inference_steps": 2},
        "max_train_steps": 2,
        "checkpointing_steps": 1,
        "validation_steps": 2,
    }
    return parse_settings(TrainSettings, values, "")


@pytest.fixture(scope="module")
def run(settings: TrainSettings) -> Run:
    return train(settings, device="cpu", quiet=True)


@pytest.fixture
def copied_run(run: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(run.folder, tmp_path / "run"))


def short(settings: TrainSettings, tmp_path: Path, **values: Any) -> TrainSettings:
    return replace(settings, output_dir=str(tmp_path / "runs"), max_train_steps=1, **values)


def generate_one(run: Run, prompt: str, tmp_path: Path, **options: Any) -> None:
    (video,) = generate(
        run,
        prompt,
        device="cpu",
        quiet=True,
        num_steps=2,
        repeat_num=1,
        output_dir=tmp_path / "videos",
        **options,
    )
    assert video.frames.shape == (5, 32, 32, 3)


def test_it_is_gone_before_the_denoiser_is_read(mixed_base: Path, reading: Reading) -> None:
    layout = find_base(str(mixed_base))
    assert layout.codec.part_class is VideoCodec
    assert layout.text.part_class is T5Text
    base = load_base_model(layout, CPU, prompts=["A square moves.", ""])
    assert reading.parts == [ENCODER, "vae", DENOISER]
    assert reading.alive == [False] * 3
    assert base.text.encode(["", "A square moves."]).shape == (2, 512, 32)
    assert len(reading.parts) == 3
    base.text.encode(["A circle moves."])
    assert reading.parts[3:] == [ENCODER]
    assert reading.encoders[-1]() is None


def test_the_watch_sees_an_encoder_that_stays(base_folder: Path, reading: Reading) -> None:
    load_base_model(find_base(str(base_folder)), CPU, prompts=["A square moves."])
    assert reading.parts == [ENCODER, "vae", DENOISER]
    assert reading.alive == [False, True, True]


def test_a_run_keeps_the_states_of_its_prompts(run: Run) -> None:
    description = read_description(run.text_states)
    assert description["prompts"] == ["A square moves.", "A circle moves.", ""]
    assert list((run.folder / "samples").glob("*.mp4"))


def test_training_reads_it_once_and_resuming_never(
    settings: TrainSettings, copied_run: Run, run: Run, reading: Reading, tmp_path: Path
) -> None:
    train(replace(settings, output_dir=str(tmp_path / "runs")), device="cpu", quiet=True)
    assert reading.parts == [ENCODER, "vae", DENOISER]
    resumed = resume(copied_run.checkpoint_folder(1), device="cpu", quiet=True)
    assert reading.parts[3:] == ["vae", DENOISER]
    ours, theirs = (
        load_file(found.find_checkpoint(2) / "lora" / "pytorch_lora_weights.safetensors")
        for found in (resumed, run)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(tensor.any() for name, tensor in theirs.items() if "lora_B" in name)


def test_known_prompts_are_generated_without_it(
    copied_run: Run, reading: Reading, tmp_path: Path
) -> None:
    generate_one(copied_run, "A circle moves.", tmp_path)
    assert reading.parts == ["vae", DENOISER]
    generate_one(copied_run, "A bear.", tmp_path)
    assert reading.parts[2:] == [ENCODER, "vae", DENOISER]
    generate_one(copied_run, "A bear.", tmp_path, negative_prompt="A circle moves.")
    assert reading.parts[5:] == ["vae", DENOISER]


def test_nothing_is_kept_unless_wanted(settings: TrainSettings, tmp_path: Path) -> None:
    shorter = short(settings, tmp_path, cache_latents=False)
    run = train(shorter, device="cpu", quiet=True)
    generate_one(run, "A circle moves.", tmp_path)
    assert not run.text_states.exists()


def test_a_damaged_file_is_one_line(copied_run: Run, tmp_path: Path) -> None:
    copied_run.text_states.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=f"^{copied_run.text_states} is damaged: .*Delete it"):
        generate_one(copied_run, "A circle moves.", tmp_path)


def test_another_encoder_starts_anew(
    mixed_base: Path, copied_run: Run, reading: Reading, tmp_path: Path
) -> None:
    other = shutil.copytree(mixed_base, tmp_path / "other")
    config = other / "text_encoder/config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "relative_attention_max_distance": 64})
    )
    generate_one(copied_run, "A circle moves.", tmp_path, model=str(other), noise_prior=0.0)
    assert reading.parts[0] == ENCODER


# --- tiles


def test_latents_in_tiles_are_latents_of_their_own(
    settings: TrainSettings, run: Run, tmp_path: Path
) -> None:
    tiled = short(settings, tmp_path, vae_tiling=True)
    (whole,) = run.reference_folder.glob("latents-*")
    other = train(tiled, device="cpu", quiet=True)
    (in_tiles,) = other.reference_folder.glob("latents-*")
    assert in_tiles.name != whole.name
    assert read_description(in_tiles) == {**read_description(whole), "vae_tiling": True}
    assert "vae_tiling" not in read_description(whole)


def test_tiles_are_as_trained_unless_asked_for(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiled = short(settings, tmp_path, vae_tiling=True)
    run = train(tiled, device="cpu", quiet=True)
    chosen = []
    enable = VideoCodec.model_class.enable_tiling

    def enable_and_note(vae: Any) -> None:
        chosen.append(vae)
        enable(vae)

    monkeypatch.setattr(VideoCodec.model_class, "enable_tiling", enable_and_note)
    generate_one(run, "A circle moves.", tmp_path)
    assert len(chosen) == 1
    generate_one(run, "A circle moves.", tmp_path, vae_tiling=False)
    assert len(chosen) == 1
    manifest = json.loads((tmp_path / "videos" / "manifest.json").read_text())["videos"]
    assert [entry["settings"].get("vae_tiling") for entry in manifest] == [True, None]
    with pytest.raises(UserError, match="was trained with vae_tiling True, not False"):
        resume(run, ["vae_tiling=false", "max_train_steps=2"], device="cpu", quiet=True)
