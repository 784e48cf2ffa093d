"""The small base is sampled by the code that previews and inference use."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launching import run_script, train_in_process, write_config

import inference
from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.clips.video import read_video, write_mp4
from motionmatcher.runs.manifest import read_manifest
from testbed import sampling
from testbed.sampling import base_sampling, sample_videos


def test_same_frames_as_inference(
    run_values: dict[str, Any], base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = run_values | {
        "output_dir": str(tmp_path / "runs"),
        "max_train_steps": 1,
        "checkpointing_steps": 1,
    }
    values["validation_data"] = values["validation_data"] | {"sample_preview": False}
    run = train_in_process(write_config(tmp_path / "config.yaml", values))
    made = tmp_path / "made"
    prompts = ["a red circle", "a blue star"]
    flags = ["--width", "64", "--height", "64", "--num-frames", "2", "--num-steps", "3"]
    flags += ["--guidance-scale", "4", "--lora_scale", "0", "--noise_prior", "0", "--seed", "5"]
    flags += ["--repeat_num", "1", "--device", "cpu", "--output_dir", str(made)]
    asked = [word for prompt in prompts for word in ("--prompt", prompt)]
    code = run_script(
        monkeypatch, inference.main, "--checkpoint_folder", str(run.folder), *asked, *flags
    )
    assert code == 0

    monkeypatch.setattr(sampling, "BATCH_SIZE", 1)  # as inference has it
    base = load_base_model(find_base(str(base_folder)), torch.device("cpu"))
    videos = sample_videos(base, prompts, [5, 5], base_sampling(2, 3, 4.0))
    for entry, prompt, video in zip(read_manifest(made), prompts, videos, strict=True):
        assert (entry["prompt"], entry["seed"]) == (prompt, 5)
        write_mp4(tmp_path / "video.mp4", video, entry["settings"]["fps"])
        expected, _ = read_video(tmp_path / "video.mp4")
        found, _ = read_video(made / entry["file"])
        assert np.array_equal(found, expected)
