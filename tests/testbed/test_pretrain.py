"""The recipe as a whole: it goes through all stages, and a resumed run equals an unbroken one."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from launching import PROJECT
from PIL import Image

from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.errors import UserError
from testbed import latents, score, sheets
from testbed.autoencoder import autoencoder_state_path, train_autoencoder
from testbed.config import PretrainConfig, UNetConfig, load_config
from testbed.denoiser import denoiser_state_path, train_denoiser
from testbed.pretrain import export_all, main, pretrain
from testbed.restore import restore_states
from testbed.sampling import base_sampling, sample_videos
from testbed.stage import read_state, steps_done
from testbed.text import train_text


def assert_same_state(first: Path, second: Path) -> None:
    tensors, _ = read_state(first)
    others, _ = read_state(second)
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


def test_whole_recipe_writes_a_base_that_samples(pretrained_config: PretrainConfig) -> None:
    base = load_base_model(find_base(str(pretrained_config.model_dir)), torch.device("cpu"))
    index = json.loads((pretrained_config.model_dir / "model_index.json").read_text())
    parts = {name for name in index if not name.startswith("_")}
    assert parts == {"unet", "vae", "text_encoder", "tokenizer", "scheduler"}
    progress = json.loads((pretrained_config.model_dir / "training.json").read_text())
    assert progress["stage"] == "unet, 8 frames"
    assert progress["step"] == 2
    card = (pretrained_config.model_dir / "README.md").read_text(encoding="utf-8")
    assert "| autoencoder | 3 | 3 |" in card
    assert "| unet, 8 frames | 2 | 2 |" in card
    assert "denoiser-1: position_r2" in card
    assert "Not measured yet." in card
    settings = base_sampling(num_frames=4, num_steps=2, guidance_scale=3.0)
    videos = sample_videos(base, ["a red circle", "a blue star"], [0, 1], settings)
    assert [video.shape for video in videos] == [(4, 64, 64, 3)] * 2
    # A video depends on its own prompt and seed alone.
    again = sample_videos(base, ["a blue star"], [1], settings)
    assert abs(again[0].astype(int) - videos[1].astype(int)).max() <= 1


def test_resumed_training_equals_an_unbroken_one(tiny_config: PretrainConfig) -> None:
    whole = tiny_config
    broken = dataclasses.replace(tiny_config, state_dir=tiny_config.state_dir.with_name("broken"))
    for config in (whole, broken):
        stops = (None,) if config is whole else (1, None)
        for stop in stops:
            train_autoencoder(config, stop)
        for stop in stops:
            train_text(config, stop)
        latents.encode_clips(config)
        for stop in stops:
            train_denoiser(config, 0, stop)
    for path in (autoencoder_state_path, lambda config: denoiser_state_path(config, 0)):
        assert steps_done(path(broken)) >= 2
        assert_same_state(path(whole), path(broken))


def test_lost_states_are_made_anew_from_the_export(pretrained_config: PretrainConfig) -> None:
    lost = dataclasses.replace(
        pretrained_config, state_dir=pretrained_config.state_dir.with_name("lost")
    )
    before = {
        path.relative_to(pretrained_config.model_dir): path.read_bytes()
        for path in pretrained_config.model_dir.rglob("*.*")
    }
    assert restore_states(lost) == ["autoencoder", "text", "denoiser-0", "denoiser-1"]
    assert steps_done(denoiser_state_path(lost, 1)) == 2
    export_all(lost)
    for path, content in before.items():
        assert (pretrained_config.model_dir / path).read_bytes() == content, path
    with pytest.raises(UserError, match="lost holds states: nothing is lost, go on with --resume"):
        restore_states(lost)


def test_restoring_wants_an_export(tiny_config: PretrainConfig) -> None:
    with pytest.raises(UserError, match=r"training\.json: no such file; expected an exported base"):
        restore_states(tiny_config)


def test_restoring_wants_an_export_of_the_same_sizes(pretrained_config: PretrainConfig) -> None:
    wider = UNetConfig(block_out_channels=(64, 64), layers_per_block=1, attention_head_dim=8)
    denoiser = dataclasses.replace(pretrained_config.denoiser, unet=wider)
    other = dataclasses.replace(
        pretrained_config,
        state_dir=pretrained_config.state_dir.with_name("lost"),
        denoiser=denoiser,
    )
    with pytest.raises(UserError, match="is not of this config: its weights have other sizes"):
        restore_states(other)
    assert not other.state_dir.exists()
    longer = dataclasses.replace(
        other.denoiser.stages[1], num_steps=3
    )  # the export has 2 of them behind it
    denoiser = dataclasses.replace(
        pretrained_config.denoiser, stages=(pretrained_config.denoiser.stages[0], longer)
    )
    unfinished = dataclasses.replace(other, denoiser=denoiser)
    assert restore_states(unfinished) == ["autoencoder", "text", "denoiser-0"]


def test_restoring_wants_all_that_was_exported(pretrained_config: PretrainConfig) -> None:
    lost = dataclasses.replace(
        pretrained_config, state_dir=pretrained_config.state_dir.with_name("lost")
    )
    nowhere = dataclasses.replace(lost, clip_dir=Path("nowhere"))
    with pytest.raises(
        UserError, match="nowhere: no such folder; expected the exported small CLIP"
    ):
        restore_states(nowhere)
    (lost.model_dir / "training.json").write_text('{"stage": "text"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"training\.json: does not say which stages are finished"):
        restore_states(lost)
    assert not lost.state_dir.exists()


def test_gates_stop_a_base_that_fell_short(tiny_config: PretrainConfig) -> None:
    with pytest.raises(UserError, match=r"autoencoder: shape_accuracy is 0\.\d+, at least 0\.95"):
        pretrain(tiny_config)
    assert not tiny_config.model_dir.exists()


def test_shipped_config_is_valid() -> None:
    config = load_config(PROJECT / "testbed" / "moving_shapes.yaml")
    assert [stage.num_frames for stage in config.denoiser.stages] == [1, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed: 0", "sead: 0"), r"unknown key 'sead'\. Did you mean 'seed'\?"),
        (("seed: 0\n", ""), r"seed is missing \(fixes data, noise and initial weights\)"),
        (("seed: 0", "seed: many"), "seed must be a whole number, not 'many'"),
        (("seed: 0", "seed: -1"), "seed must be at least 0, not -1"),
        (("caption_dropout", "caption_drop"), r"unknown key 'denoiser\.caption_drop'"),
        (("[64, 128]", "64"), r"denoiser\.unet\.block_out_channels must be a list, not 64"),
        (
            ("[64, 128]", "[64, wide]"),
            r"block_out_channels\[1\] must be a whole number, not 'wide'",
        ),
        (("[64, 128]", "[64, 0]"), r"block_out_channels must be at least 1, not 0"),
        (
            ("final_rate: 0.02", "final_rate: 2"),
            r"denoiser\.stages\[1\]\.final_rate must be at most 1, not 2",
        ),
        (
            ("num_frames: 8", "num_frames: 9"),
            r"stages\[1\]\.num_frames must be at most denoiser\.num_rendered_frames 8, not 9",
        ),
        (("ema_decay: 0.999", "ema_decay: .nan"), r"ema_decay must be a finite number"),
    ],
)
def test_config_errors_name_the_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    shipped = PROJECT / "testbed" / "moving_shapes.yaml"
    text = shipped.read_text(encoding="utf-8")
    assert change[0] in text
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_earlier_state_is_not_trained_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = PROJECT / "testbed" / "moving_shapes.yaml"
    states = tmp_path / "states"
    text = shipped.read_text(encoding="utf-8").replace("models/.pretraining", str(states))
    config = tmp_path / "config.yaml"
    config.write_text(text, encoding="utf-8")
    states.mkdir()
    (states / "text.safetensors").touch()
    monkeypatch.setattr("sys.argv", ["pretrain", "--config", str(config)])
    with pytest.raises(UserError, match="holds the state of an earlier training: give --resume"):
        main()


def test_export_before_training_says_what_is_missing(tiny_config: PretrainConfig) -> None:
    with pytest.raises(UserError, match=r"text\.safetensors: no state of the small CLIP yet"):
        export_all(tiny_config)


def test_score_wants_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["score", "--base", str(tmp_path / "none")])
    with pytest.raises(
        UserError, match=r"none: there is no such base; python -m testbed\.pretrain"
    ):
        score.main()
    monkeypatch.setattr("sys.argv", ["score", "--base", str(tmp_path)])
    with pytest.raises(UserError, match=r"config\.json is missing: .* is not complete"):
        score.main()
    monkeypatch.setattr("sys.argv", ["score", "--num_prompts", "1"])
    with pytest.raises(SystemExit):
        score.main()
    assert "--num_prompts: '1' is not a whole number from 2 to" in capsys.readouterr().err


def test_sheet_of_the_data_is_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["sheets", "--output_dir", str(tmp_path), "--base", str(tmp_path / "none")]
    monkeypatch.setattr("sys.argv", arguments)
    sheets.main()
    with Image.open(tmp_path / "data.png") as picture:
        assert picture.height > 12 * 64
    assert not (tmp_path / "reconstructions.png").exists()
