"""`python -m evaluation`: what is available is used, what is not is said."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation import __main__ as command
from motionmatcher.errors import UserError


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch, video_folder: Path, clip_folder: Path
) -> Callable[..., int]:
    """Run the command over the folder, with its first video as the reference."""

    def run(*arguments: object) -> int:
        known = ["--source_video", video_folder / "clip-2.mp4", "--output_dir", video_folder]
        known += ["--grid_size", 4, "--clip_model", clip_folder]
        monkeypatch.setattr(sys, "argv", ["evaluation", *map(str, [*known, *arguments])])
        return command.main()

    return run


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither CoTracker nor ImageReward, whatever this machine has."""
    monkeypatch.setattr("evaluation.scorers.EVALUATION_DIR", tmp_path)


def test_what_is_missing_is_left_out_and_said(
    evaluate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate() == 0
    output = capsys.readouterr().out
    assert "left out: ImageReward: " in output
    assert "left out: CoTracker; motion is measured with the flow tracker instead: " in output
    assert "CLIP-T: " in output
    assert "clip_model tiny-clip, tracker flow" in output
    assert "reference frozen" in output


def test_without_prompts_only_the_motion_is_scored(
    evaluate: Callable[..., int], video_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (video_folder / "manifest.json").unlink()
    assert evaluate() == 0
    output = capsys.readouterr().out
    assert "left out: CLIP scores: not every video has a prompt" in output
    assert "CLIP-T" not in output
    assert "Motion discrepancy: " in output


def test_what_was_asked_for_by_name_is_never_replaced(
    evaluate: Callable[..., int], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--tracker flow, which needs neither"):
        evaluate("--tracker", "cotracker")
    with pytest.raises(UserError, match="hf download THUDM/ImageReward"):
        evaluate("--imagereward_ckpt", tmp_path / "mine.pt")
    with pytest.raises(UserError, match="neither an open_clip architecture"):
        evaluate("--clip_model", "ViT-B-33")
