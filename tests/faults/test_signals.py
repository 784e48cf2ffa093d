"""Ctrl-C and SIGTERM: the step under way is finished and saved; a second signal ends at once."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import write_config
from processes import Hold, Program, start

from motionmatcher.clips.video import read_video
from motionmatcher.runs.run_folder import Run

# What a shell expects of a program that a signal stopped: 128 and the signal's number.
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def train_and_hold(tmp_path: Path, quick_values: dict[str, Any]) -> Callable[[float], Program]:
    """Start a training and come back in the midst of its third step, which lasts."""

    def begin(seconds: float) -> Program:
        values = {
            **quick_values,
            "output_dir": str(tmp_path / "runs"),
            "validation_data": {"sample_preview": False, "noise_prior": 0},
        }
        config = write_config(tmp_path / "config.yaml", values)
        hold = Hold(
            "motionmatcher.training.loop", "average_gradients", 3, seconds, tmp_path / "begun"
        )
        arguments = ("--config", config, "--device", "cpu")
        program = start(tmp_path / "log.txt", "train", *arguments, disturbances=[hold])
        program.wait_for(tmp_path / "begun")
        return program

    return begin


@pytest.mark.parametrize("number", CODES)
def test_a_signal_saves_and_says_how_to_go_on(
    train_and_hold: Callable[[float], Program], tmp_path: Path, number: signal.Signals
) -> None:
    program = train_and_hold(1)
    program.signal(number)
    assert program.wait() == CODES[number]
    (run,) = map(Run, (tmp_path / "runs").iterdir())
    assert run.checkpoint_steps() == [2, 3]
    assert f"train.py --resume {run.folder}" in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("second", CODES)
def test_a_second_signal_ends_at_once(
    train_and_hold: Callable[[float], Program], tmp_path: Path, second: signal.Signals
) -> None:
    program = train_and_hold(600)
    program.signal(signal.SIGINT)
    time.sleep(0.2)  # two signals that come together may be taken for one
    program.signal(second)
    assert program.wait(60) == CODES[second]
    (run,) = map(Run, (tmp_path / "runs").iterdir())
    assert run.checkpoint_steps() == [2]
    assert "Traceback" not in program.output


@pytest.mark.parametrize("number", CODES)
def test_a_signal_before_the_first_step_ends_without_a_traceback(
    tmp_path: Path, quick_values: dict[str, Any], number: signal.Signals
) -> None:
    values = {**quick_values, "output_dir": str(tmp_path / "runs")}
    config = write_config(tmp_path / "config.yaml", values)
    hold = Hold("motionmatcher.training.assembly", "load_base_model", 1, 600, tmp_path / "begun")
    arguments = ("--config", config, "--device", "cpu")
    program = start(tmp_path / "log.txt", "train", *arguments, disturbances=[hold])
    program.wait_for(tmp_path / "begun")
    program.signal(number)
    assert program.wait(60) == CODES[number]
    assert "Traceback" not in program.output


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_inference_and_leaves_whole_files(
    trained: Run, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "videos"
    hold = Hold("motionmatcher.generation.generate", "sample_latents", 2, 600, tmp_path / "begun")
    arguments = ("-cf", trained.folder, "-p", "A circle.", "-d", "cpu", "-rn", 3, "-o", folder)
    program = start(tmp_path / "log.txt", "inference", *arguments, disturbances=[hold])
    program.wait_for(tmp_path / "begun")
    program.signal(number)
    assert program.wait(60) == CODES[number]
    assert "Traceback" not in program.output
    (entry,) = json.loads((folder / "manifest.json").read_text())["videos"]
    assert [path.name for path in folder.glob("*.mp4")] == [entry["file"]]
    assert len(read_video(folder / entry["file"])[0]) == 4
