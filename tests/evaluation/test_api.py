"""The Python API: `from evaluation import score`."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import PROJECT

from evaluation import ScorerSettings, Scores, score
from evaluation.folders import OutputVideo
from motionmatcher.clips import clip_file
from motionmatcher.clips.video import read_video
from motionmatcher.errors import UserError


@pytest.fixture
def settings(clip_folder: Path) -> ScorerSettings:
    return ScorerSettings(clip_model=str(clip_folder), tracker="flow", grid_size=4)


def test_one_folder_by_its_prompts(
    video_folder: Path, settings: ScorerSettings, capsys: pytest.CaptureFixture
) -> None:
    scores = score(str(video_folder), metrics=["clip"], settings=settings, quiet=True)
    assert isinstance(scores, Scores)
    assert [metric.name for metric in scores.metrics] == ["clip_t", "frame_consistency"]
    (folder,) = scores.folders
    values = [video.scores.values["clip_t"] for video in folder.videos]
    assert folder.interval(scores.metrics[0]).mean == pytest.approx(sum(values) / 2)
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


def test_all_that_is_available(video_folder: Path, settings: ScorerSettings) -> None:
    reference = video_folder / "clip-2.mp4"
    scores = score([video_folder], reference, settings=settings, controls=True, quiet=True)
    names = [metric.name for metric in scores.metrics]
    assert names[:4] == ["clip_t", "frame_consistency", "leakage", "motion_discrepancy"]
    assert scores.folders[0].videos[0].scores.values["motion_discrepancy"] == 0.0
    assert "reference frozen" in scores.controls
    (reason,) = scores.left_out
    assert reason.startswith("ImageReward: ")
    without = score(video_folder, settings=settings, quiet=True)
    assert without.left_out[-1] == "motion: there is no reference clip."


def test_a_prompt_holds_for_all_and_the_base_model_is_one_more_row(
    video_folder: Path, settings: ScorerSettings
) -> None:
    scores = score(
        video_folder,
        prompt="a fox",
        metrics=["clip"],
        settings=settings,
        baseline=video_folder,
        quiet=True,
    )
    assert [folder.is_baseline for folder in scores.folders] == [False, True]
    assert {video.video.prompt for video in scores.folders[0].videos} == {"a fox"}


def test_a_video_is_opened_to_check_and_to_read_it_whatever_is_made_of_it(
    video_folder: Path,
    settings: ScorerSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: Counter[Path] = Counter()
    open_container = clip_file._opened

    def count(path: Path) -> Any:
        opened[path] += 1
        return open_container(path)

    reference = tmp_path / "reference.mp4"
    reference.write_bytes((video_folder / "clip-2.mp4").read_bytes())
    monkeypatch.setattr(clip_file, "_opened", count)
    seen: list[tuple[str, tuple[int, ...]]] = []

    def see(video: OutputVideo, frames: np.ndarray) -> None:
        seen.append((video.path.name, frames.shape))

    page = tmp_path / "page.html"
    score(video_folder, reference, settings=settings, report=page, quiet=True, on_video=see)
    videos = {path: times for path, times in opened.items() if path.parent != page.parent}
    assert videos.pop(video_folder / "clip-2.mp4") == 2
    assert videos.pop(video_folder / "clip-10.mp4") == 2
    assert opened[reference] == 2
    shape = read_video(reference)[0].shape
    assert seen == [("clip-2.mp4", shape), ("clip-10.mp4", shape)]
    assert page.read_text(encoding="utf-8").count("<video ") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": ["clips"]},
            "metrics: 'clips' is none of clip, image_reward, motion. .*'clip'",
        ),
        ({"metrics": ["motion"]}, "metrics: 'motion' compares with a reference clip: give one"),
        ({"report": "page.html"}, "report: the page compares motion with a reference clip's"),
        ({"metrics": ["image_reward"]}, "hf download THUDM/ImageReward"),
        ({"settings": ScorerSettings(clip_model="ViT-B-33")}, "neither an open_clip architecture"),
        ({"prompt": " "}, "--prompt is empty"),
    ],
)
def test_what_cannot_be_scored_is_said(
    video_folder: Path, settings: ScorerSettings, change: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score(video_folder, **{"settings": settings, "quiet": True} | change)


def test_a_video_cut_after_it_was_opened_is_not_scored(
    video_folder: Path, noise_clip: Callable[..., np.ndarray]
) -> None:
    from evaluation.folders import open_folder
    from motionmatcher.clips.video import write_mp4

    folder = open_folder(video_folder)
    write_mp4(video_folder / "clip-2.mp4", noise_clip(num_frames=2), fps=8)
    with pytest.raises(UserError, match=r"clip-2\.mp4 breaks off"):
        folder.videos[0].read()


def test_naming_it_imports_no_torch() -> None:
    code = "import sys; from evaluation import score; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
