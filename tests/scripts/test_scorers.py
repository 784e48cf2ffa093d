"""The command lines: what they print and write, and their exit codes."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT
from PIL import Image

from evaluation import api, clip_scorer
from evaluation.folders import OutputFolder
from motionmatcher.clips.video import Frames, write_mp4
from motionmatcher.errors import UserError


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a script's main function with arguments, and give its exit code."""

    def run(name: str, *arguments: object) -> int:
        monkeypatch.syspath_prepend(str(PROJECT))
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return __import__(name).main()

    return run


@pytest.fixture
def clip_scores(run_script: Callable[..., int], clip_folder: Path) -> Callable[..., int]:
    def run(*arguments: object) -> int:
        return run_script("clip_scores", "--clip_model", clip_folder, *arguments)

    return run


@pytest.fixture
def motion_discrepancy(run_script: Callable[..., int]) -> Callable[..., int]:
    def run(*arguments: object) -> int:
        return run_script("motion_discrepancy", "--tracker", "flow", "--grid_size", 4, *arguments)

    return run


def test_what_was_done_to_a_video_stands_beside_its_scores(
    clip_scores: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("L", (32, 32), 40 * index) for index in range(4)]
    delays = [100, 100, 300, 100]
    (tmp_path / "videos").mkdir()
    frames[0].save(
        tmp_path / "videos" / "a.gif", save_all=True, append_images=frames[1:], duration=delays
    )
    file = tmp_path / "scores.json"
    assert clip_scores("--output_dir", tmp_path / "videos", "--prompt", "a", "--json", file) == 0
    note = "its frame rate varies: 6 frames are taken at even steps (10 fps) from the 4 in the file"
    assert f"({note})" in capsys.readouterr().out
    assert note in file.read_text()


def test_clip_scores_prints_a_line_per_video_and_the_mean(
    clip_scores: Callable[..., int], video_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clip_scores("--output_dir", video_folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["clip-2.mp4", "clip-10.mp4"]
    values = [float(line.split()[2]) for line in lines[2:4]]
    assert lines[4].startswith(f"CLIP-T: {sum(values) / 2:.3f}")
    assert "T. Cons.: " in lines[4]
    assert lines[4].endswith("(n = 2, clip_model tiny-clip)")


def test_a_refused_command_leaves_no_folder_and_a_good_one_makes_it(
    clip_scores: Callable[..., int], video_folder: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    outputs = ["--json", new / "a" / "scores.json", "--csv", new / "b" / "scores.csv"]
    with pytest.raises(UserError, match="gone"):
        clip_scores("--output_dir", tmp_path / "gone", *outputs)
    assert not new.exists()
    assert clip_scores("--output_dir", video_folder, *outputs) == 0
    assert len([path for path in new.rglob("*") if path.is_file()]) == 2


def test_one_good_video_among_broken_ones(
    clip_scores: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip_scores("--output_dir", video_folder, "--json", tmp_path / "whole.json")
    good, cut = video_folder / "clip-2.mp4", video_folder / "clip-10.mp4"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    (video_folder / "clip-3.mp4").write_text("no video")
    capsys.readouterr()
    code = clip_scores(
        *("--output_dir", video_folder, "--prompt", "a bear, take 2"),
        *("--json", tmp_path / "scores.json", "--csv", tmp_path / "scores.csv"),
    )
    assert code == 1
    errors = capsys.readouterr().err
    assert "2 of 3 videos could not be scored" in errors
    assert "clip-3.mp4 cannot be read as a video" in errors
    assert "clip-10.mp4" in errors

    whole = json.loads((tmp_path / "whole.json").read_text())["folders"][0]
    folder = json.loads((tmp_path / "scores.json").read_text())["folders"][0]
    assert folder["videos"] == [whole["videos"][0]]  # the good one's score is what it was
    assert folder["mean"]["clip_t"]["n"] == 1
    assert {video["file"] for video in folder["unreadable"]} == {"clip-3.mp4", "clip-10.mp4"}
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["file"] == good.name
    assert float(rows[0]["clip_t"]) == folder["videos"][0]["scores"]["clip_t"]
    assert [bool(row["error"]) for row in rows] == [False, True, True]
    assert {row["clip_model"] for row in rows} == {"tiny-clip"}


def test_a_video_that_goes_while_others_are_scored(
    clip_scores: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = video_folder / "clip-2.mp4"
    opened = api.open_folder

    def open_and_lose(*arguments: Any) -> OutputFolder:
        folder = opened(*arguments)
        gone.unlink()
        return folder

    monkeypatch.setattr(api, "open_folder", open_and_lose)
    assert clip_scores("--output_dir", video_folder, "--json", tmp_path / "scores.json") == 1
    folder = json.loads((tmp_path / "scores.json").read_text())["folders"][0]
    assert [video["file"] for video in folder["videos"]] == ["clip-10.mp4"]
    assert [video["file"] for video in folder["unreadable"]] == [gone.name]
    assert "1 of 2 videos could not be scored" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_holds_null_for_what_is_not_finite(
    clip_scores: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    monkeypatch.setattr(clip_scorer, "frame_consistency", lambda _: value)
    assert clip_scores("--output_dir", video_folder, "--json", tmp_path / "scores.json") == 0
    folder = json.loads((tmp_path / "scores.json").read_text())["folders"][0]
    assert [video["scores"]["frame_consistency"] for video in folder["videos"]] == [None, None]
    assert folder["mean"]["frame_consistency"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert folder["mean"]["clip_t"]["n"] == 2


@pytest.mark.parametrize("flag", ["--json", "--csv"])
def test_an_output_that_cannot_be_written_is_known_before_any_video_is_read(
    clip_scores: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
) -> None:
    monkeypatch.setattr(api, "open_folder", lambda *_: pytest.fail("read videos"))
    with pytest.raises(SystemExit) as stop:
        clip_scores("--output_dir", video_folder, flag, tmp_path)
    assert stop.value.code == 2
    assert f"argument {flag}: {tmp_path} cannot be written" in capsys.readouterr().err


def test_folders_are_compared_in_one_table(
    clip_scores: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    noise_clip: Callable[..., Frames],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_mp4(tmp_path / "base" / "a.mp4", noise_clip(seed=5), fps=8)
    code = clip_scores(
        *("--output_dir", video_folder, "--prompt", "a bear"),
        *("--source_video", video_folder / "clip-2.mp4", "--baseline", tmp_path / "base"),
    )
    assert code == 0
    table = capsys.readouterr().out.partition("\nLeakage (lower is better)")[2].splitlines()
    assert table[1].split()[0] == "outputs"
    assert table[1].endswith("n = 2")
    assert table[2].startswith("  base (base model)")


def test_motion_discrepancy_names_its_tracker_everywhere(
    motion_discrepancy: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = video_folder / "clip-2.mp4"
    json_file, csv_file = tmp_path / "motion.json", tmp_path / "motion.csv"
    code = motion_discrepancy(
        *("--source_video", source, "--output_dir", video_folder, "--controls"),
        *("--json", json_file, "--csv", csv_file),
    )
    assert code == 0
    output = capsys.readouterr().out
    assert "(n = 2, tracker flow, " in output
    assert "reference time-shuffled" in output
    assert "0 % is the reference itself, 100 % the worst control" in output
    results = json.loads(json_file.read_text())
    assert results["settings"]["tracker"] == "flow"
    assert results["folders"][0]["videos"][0]["scores"]["motion_discrepancy"] == 0.0
    assert results["controls"]["reference itself"]["motion_fidelity"] == pytest.approx(1.0)
    with csv_file.open() as file:
        assert [row["tracker"] for row in csv.DictReader(file)] == ["flow", "flow"]


def test_position_between_floor_and_ceiling(
    motion_discrepancy: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reference = video_folder / "clip-2.mp4"
    itself = tmp_path / "itself"
    itself.mkdir()
    (itself / "same.mp4").write_bytes(reference.read_bytes())
    motion_discrepancy("--source_video", reference, "--output_dir", itself, "--controls")
    output = capsys.readouterr().out
    assert "itself  Motion discrepancy: 0 % (worst: " in output
    assert "itself  Fidelity: 0 % (worst: " in output


def test_bad_input_is_refused(
    clip_scores: Callable[..., int],
    motion_discrepancy: Callable[..., int],
    video_folder: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="no such folder"):
        clip_scores("--output_dir", tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is no such video file"):
        motion_discrepancy("--output_dir", video_folder, "--source_video", tmp_path / "no.mp4")
    with pytest.raises(UserError, match="--device tpu9: expected auto"):
        clip_scores("--output_dir", video_folder, "--device", "tpu9")
    (video_folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="has no prompt"):
        clip_scores("--output_dir", video_folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outptu_dir", "x"], "--output_dir"),
        (["--output_dir", "x", "--batch_sise", "3"], "Did you mean '--batch_size'?"),
        (["--output_dir", "x", "--batch_size", "0"], "'0' is not a whole number from 1 to 10000"),
        (["--output_dir", "x", "--baseline", "y"], "needs --source_video"),
    ],
)
def test_command_line_errors(
    clip_scores: Callable[..., int],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        clip_scores(*arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_input_ends_a_script_with_one_line_and_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "motion_discrepancy.py", "--tracker", "flow"]
    command += ["--source_video", str(tmp_path / "no.mp4"), "--output_dir", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {tmp_path / 'no.mp4'}: there is no such video file."


@pytest.mark.parametrize(
    "script", ["clip_scores", "motion_discrepancy", "imagereward", "evaluation.__main__"]
)
def test_help_loads_nothing_heavy(script: str) -> None:
    heavy = {"torch", "transformers", "cv2", "av", "open_clip"}
    code = (
        f"import sys, {script}; sys.argv = ['x', '--help']\n"
        f"try: {script}.main()\n"
        f"except SystemExit: sys.exit(' '.join({heavy} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert "--output_dir DIR" in done.stdout
