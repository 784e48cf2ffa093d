"""AnimateDiff by the programs: training, resuming, inference and scores, and a dry run at full size."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from launching import (
    PROJECT,
    dry_run_at_full_size,
    resume_in_process,
    run_script,
    train_in_process,
    write_config,
)

import inference
import motion_discrepancy
from motionmatcher.clips.video import probe
from motionmatcher.config.loading import load_settings
from motionmatcher.runs.run_folder import Run

FILES = ("lora/pytorch_lora_weights.safetensors", "training_state.safetensors")


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    run_values: dict[str, Any],
    stable_diffusion_folders: tuple[Path, Path],
) -> Run:
    """On a Stable Diffusion with a motion adapter, two checkpoints."""
    folder = tmp_path_factory.mktemp("animatediff")
    base, adapter = stable_diffusion_folders
    values = {
        **run_values,
        "pretrained_model_path": str(base),
        "motion_adapter_path": str(adapter),
        "output_dir": str(folder),
        "max_train_steps": 2,
        "checkpointing_steps": 1,
        "validation_steps": 2,
        "lora_unet_dropout": 0.2,
    }
    return train_in_process(write_config(folder / "config.yaml", values))


def test_a_resumed_run_is_the_unbroken_one_to_the_bit(trained: Run, tmp_path: Path) -> None:
    killed = Run(shutil.copytree(trained.folder, tmp_path / "killed"))
    shutil.rmtree(killed.checkpoint_folder(2))
    resume_in_process(killed.folder)
    for name in FILES:
        expected = (trained.checkpoint_folder(2) / name).read_bytes()
        assert (killed.checkpoint_folder(2) / name).read_bytes() == expected
        assert (trained.checkpoint_folder(1) / name).read_bytes() != expected


def test_inference_takes_the_adapter_from_the_run(
    trained: Run,
    stable_diffusion_folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, scores = tmp_path / "out", tmp_path / "scores.json"
    given = ["--checkpoint_folder", trained.folder, "--prompt", "A circle moves.", "-d", "cpu"]
    given += ["--noise_prior", 0.5, "--repeat_num", 1, "-o", output, "--json", tmp_path / "a.json"]
    assert run_script(monkeypatch, inference.main, *given) == 0
    assert "another base" not in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "a.json").read_text())["videos"]
    base, adapter = stable_diffusion_folders
    assert entry["settings"]["model"] == str(base)
    assert entry["settings"]["motion_adapter"] == str(adapter)
    assert entry["settings"]["noise_prior"] == 0.5
    video = probe(output / entry["file"])
    assert (video.num_frames, video.width, video.height) == (4, 32, 32)

    # Another model comes without the run's adapter.
    assert run_script(monkeypatch, inference.main, *given, "--model", base) == 2
    assert "set motion_adapter_path (--motion_adapter of inference.py)" in capsys.readouterr().err

    monkeypatch.setattr(sys, "argv", ["motion_discrepancy.py"])
    clip = load_settings(trained.config_file).train_data.single_video_path
    arguments = ["--tracker", "flow", "--grid_size", 4, "--output_dir", output]
    arguments += ["--source_video", clip, "--json", scores]
    assert run_script(monkeypatch, motion_discrepancy.main, *arguments) == 0
    (video,) = json.loads(scores.read_text())["folders"][0]["videos"]
    assert video["scores"]["motion_discrepancy"] >= 0


def test_the_documented_way_to_use_a_lora_elsewhere(trained: Run, animatediff_folder: Path) -> None:
    page = (PROJECT / "docs" / "bases.md").read_text(encoding="utf-8")
    section = page.partition("\n## AnimateDiff\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for documented, here in (
        ("models/animatediff", str(animatediff_folder)),
        ("outputs/train/my_run/checkpoint-400/lora", str(trained.checkpoint_folder(2) / "lora")),
        ("num_frames=16", "num_frames=2, num_inference_steps=1"),
    ):
        assert documented in program
        program = program.replace(documented, here)
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["video"].shape == (2, 64, 64, 3)
    loaded = {name for name, _ in names["pipeline"].unet.named_modules() if ".lora_A" in name}
    assert len(loaded) == 2 * 94, "a container and a Linear for each target"


def test_too_many_frames_are_refused_before_any_work(
    trained: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    given = ["--checkpoint_folder", trained.folder, "--prompt", "A circle.", "-d", "cpu"]
    monkeypatch.setattr(
        "motionmatcher.generation.generate.load_base_model", lambda *_: pytest.fail("read weights")
    )
    assert run_script(monkeypatch, inference.main, *given, "-T", 33, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 33 frames: this base model's denoiser takes at most 32")
    assert len(error.splitlines()) == 1


def test_a_dry_run_at_full_size_from_configs_alone(
    tmp_path: Path,
    clip_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = {
        "single_video_path": str(clip_path),
        "single_video_prompt": "A square moves.",
        "n_sample_frames": 12,
    }
    found = dry_run_at_full_size(monkeypatch, tmp_path, "animatediff", "animatediff.yaml", clip)
    assert found["lora_modules"] == 16 * (4 + 2) + 21 * (4 + 4 + 2)
    assert found["latent_size"] == [64, 64]
    assert found["cross_attention_map_size"] == [16, 16]
    assert found["temporal_attention_map_size"] == [16, 16]
    assert "no weights yet for unet, vae, text_encoder" in capsys.readouterr().out
