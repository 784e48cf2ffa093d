"""python -m motionmatcher.inspect_clip: its words, files and errors; its notes in a dry run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import PROJECT, run_script, write_config
from PIL import Image

import train
from motionmatcher.clips.video import read_video, write_mp4
from motionmatcher.cost.step import FakeStep, StepCost
from motionmatcher.inspect_clip import main


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['inspect_clip', '--help']\n"
        "try: runpy.run_module('motionmatcher.inspect_clip', run_name='__main__')\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "heavy = {'torch', 'cv2', 'av', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("usage: python -m motionmatcher.inspect_clip")


def test_the_report_the_notes_and_the_files(
    clip_path: Path,
    quick_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    config = write_config(tmp_path / "config.yaml", quick_values)
    files = ["--json", tmp_path / "report.json", "--sheet", tmp_path / "sheet.png"]
    arguments = [clip_path, "--config", config, "--suggest", *files, "train_data.frame_step=2"]
    assert run_script(monkeypatch, main, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{clip_path}: 12 frames, 8 fps (constant rate), 80x64"
    assert lines[1] == "looked at: 4 frames (0, 2 … 6)"
    assert lines[2] == "cuts: none; repeated frames: none"
    assert lines[4].startswith("candidate 1: 4 frames (")
    assert any(line.startswith("better: ") for line in lines)
    assert lines[-1].startswith(f"note: {clip_path} has 8 fps; with frame_step 2 that is 4, but")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["window"]["frames"] == [0, 2, 4, 6]
    assert written["notes"] == [lines[-1].removeprefix("note: ")]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize(("listed", "frames"), [(True, [5, 6, 7, 8]), (False, [0, 1, 2, 3])])
def test_a_clip_among_several_is_looked_at_by_its_own_frames(
    listed: bool,
    frames: list[int],
    clip_path: Path,
    quick_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(clip_path) if listed else "another.mp4"
    clips = [
        {"path": "first.mp4", "prompt": "a dog", "sample_start_idx": 1},
        {"path": path, "prompt": "a cat", "sample_start_idx": 5},
    ]
    data = {"clips": clips, "width": 32, "height": 32, "n_sample_frames": 4}
    config = write_config(tmp_path / "config.yaml", {**quick_values, "train_data": data})
    written = tmp_path / "report.json"
    assert run_script(monkeypatch, main, clip_path, "--config", config, "--json", written) == 0
    assert json.loads(written.read_text())["window"]["frames"] == frames


def test_better_frames_of_a_clip_among_several_are_its_entry_s(
    clip_path: Path, quick_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = read_video(clip_path)[0][:1].repeat(6, 0)
    moving = read_video(clip_path)[0]
    clip = tmp_path / "late.mp4"
    write_mp4(clip, np.concatenate([still, moving]), fps=8)
    clips = [
        {"path": "first.mp4", "prompt": "a dog"},
        {"path": str(clip), "prompt": "a cat", "start_s": 0.0},
    ]
    data = {"clips": clips, "width": 32, "height": 32, "n_sample_frames": 4, "fps": 8}
    config = write_config(tmp_path / "config.yaml", {**quick_values, "train_data": data})
    written = tmp_path / "report.json"
    arguments = [clip, "--config", config, "--suggest", "--json", written]
    assert run_script(monkeypatch, main, *arguments) == 0
    report = json.loads(written.read_text())
    assert report["overrides"] == []
    start = report["candidates"][0]["frames"][0]
    assert start >= 5
    assert any(
        f"better frames: set {{sample_start_idx: {start}, frame_step: " in note
        and "start_s: null, duration_s: null} in train_data.clips[1]." in note
        for note in report["notes"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.mp4"], "gone.mp4: there is no such video file"),
        (["README.md"], "README.md cannot be read as a video"),
        (["gone.mp4", "seed=1"], "seed=1: overrides change the settings of --config FILE"),
        (["gone.mp4", "--sugest"], "unknown flag --sugest. Did you mean '--suggest'?"),
        (["gone.mp4", "--sheet", "tests"], "argument --sheet: tests cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    assert run_script(monkeypatch, main, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_dry_run_looks_at_the_frames(
    quick_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    clip = PROJECT / "resources" / "reference_videos" / "spiral.mp4"
    data = {**quick_values["train_data"], "single_video_path": str(clip), "n_sample_frames": 1}
    config = write_config(tmp_path / "config.yaml", {**quick_values, "train_data": data})
    monkeypatch.setattr("motionmatcher.inspection.windows.LITTLE_TRAVEL", 1000)
    monkeypatch.setattr(FakeStep, "cost", lambda step: StepCost(1, {"weights": 1}, 1))
    arguments = ["--config", config, "--dry-run", "--device", "cpu", f"output_dir={tmp_path}"]
    assert run_script(monkeypatch, train.main, *arguments, "train_data.n_sample_frames=4") == 0
    assert f"note: {clip}: hardly anything moves" in capsys.readouterr().out
    assert run_script(monkeypatch, train.main, *arguments) == 0
    assert "hardly" not in capsys.readouterr().out
