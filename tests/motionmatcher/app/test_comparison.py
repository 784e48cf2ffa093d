"""A generation's videos, its reference, and the scores that the scorer wrote of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.folders import OutputFolder, OutputVideo
from evaluation.metrics import CENTRED_DISCREPANCY, MOTION_DISCREPANCY
from evaluation.results import write_scores_json
from evaluation.scoring import ScoredFolder, ScoredVideo, Scores, VideoScores
from motionmatcher.app.commands import BASE, REFERENCE, SCORES, TRAINED
from motionmatcher.app.comparison import (
    newest_generation,
    read_scores,
    read_videos,
    write_reference,
)
from motionmatcher.app.show import show_comparison, show_videos
from motionmatcher.clips.video import Frames, read_video, write_mp4
from motionmatcher.config.loading import load_settings
from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.runs.run_folder import Run

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{x}}"


@pytest.fixture
def generation(tmp_path: Path, noise_clip: Callable[..., Frames]) -> Path:
    """A generation of two videos by the trained model and the base, with a reference."""
    for side in (TRAINED, BASE):
        entries = []
        for seed in (0, 1):
            write_mp4(tmp_path / side / f"{seed}.mp4", noise_clip(seed=seed), fps=8)
            entries.append({"file": f"{seed}.mp4", "prompt": HOSTILE, "seed": seed})
        write_json(tmp_path / side / "manifest.json", {"format": 1, "videos": entries})
    write_mp4(tmp_path / REFERENCE, noise_clip(), fps=8)
    return tmp_path


def score(folder: Path, doubts: dict[str, str]) -> None:
    """Write scores as motion_discrepancy.py does."""
    metrics = [MOTION_DISCREPANCY, CENTRED_DISCREPANCY]
    folders = []
    for side, values in ((TRAINED, (0.1, 0.3)), (BASE, (0.5, 0.9))):
        videos = tuple(
            ScoredVideo(
                OutputVideo(folder / side / f"{seed}.mp4", HOSTILE, seed),
                VideoScores({metric.name: value for metric in metrics}),
            )
            for seed, value in enumerate(values)
        )
        opened = OutputFolder(folder / side, tuple(scored.video for scored in videos))
        folders.append(ScoredFolder(opened, videos))
    controls = {"frozen": {metric.name: 1.0 for metric in metrics}}
    scores = Scores(metrics, {}, folders, controls, doubts=doubts)
    write_scores_json(folder / SCORES, scores)


def shown(folder: Path) -> str:
    return show_comparison(
        folder, read_videos(folder / TRAINED), read_videos(folder / BASE), read_scores(folder)
    )


def test_scores_are_read_as_the_scorer_writes_them(generation: Path) -> None:
    assert read_scores(generation) is None
    score(generation, {})
    scores = read_scores(generation)
    assert scores is not None
    row = scores.rows[0]
    assert (row.label, row.better, row.doubt) == ("Motion discrepancy", "lower", None)
    assert (row.base, row.trained) == (pytest.approx(0.7), pytest.approx(0.2))
    assert scores.of_videos[TRAINED, "1.mp4"] == 0.3
    page = shown(generation)
    assert "base: motion discrepancy 0.9000" in page
    assert "trained: motion discrepancy 0.3000" in page
    assert "can be trusted" in page


def test_a_doubtful_number_stands_under_no_video(generation: Path) -> None:
    score(generation, {MOTION_DISCREPANCY.name: "it cannot tell them apart"})
    page = shown(generation)
    assert "motion discrepancy 0" not in page
    assert "not to be trusted: it cannot tell them apart" in page


def test_videos_stand_beside_those_of_the_same_seed_and_the_reference(generation: Path) -> None:
    page = shown(generation)
    assert page.count("reference.mp4?") == 2
    first, second = page.split("</section>")[:2]
    for seed, part in enumerate((first, second)):
        assert part.index("reference.mp4") < part.index(f"{BASE}/{seed}.mp4")
        assert part.index(f"{BASE}/{seed}.mp4") < part.index(f"{TRAINED}/{seed}.mp4")


def test_prompts_are_shown_and_do_nothing(generation: Path) -> None:
    page = show_videos(read_videos(generation / TRAINED))
    assert "<img" not in page
    assert "&lt;img" in page
    assert not {"${", "{{"} & {page[at : at + 2] for at in range(len(page))}


def test_the_newest_generation_with_videos_counts(generation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert newest_generation(folder) is None
    (folder / "videos" / TRAINED).mkdir(parents=True)
    assert newest_generation(folder) is None  # nothing made yet
    generation.joinpath(TRAINED).rename(folder / "videos-2")
    folder.joinpath("videos-3").mkdir()
    os.rename(folder / "videos-2", folder / "videos-3" / TRAINED)  # noqa: PTH104
    assert newest_generation(folder) == folder / "videos-3"


def test_a_video_that_is_gone_is_left_out(generation: Path) -> None:
    (generation / TRAINED / "0.mp4").unlink()
    assert [video.seed for video in read_videos(generation / TRAINED)] == [1]


def test_the_reference_is_what_training_read(
    tmp_path: Path, clip_path: Path, base_folder: Path
) -> None:
    config: dict[str, Any] = {
        "pretrained_model_path": str(base_folder),
        "output_dir": str(tmp_path / "out"),
        "train_data": {
            "single_video_path": str(clip_path),
            "single_video_prompt": "a square",
            "n_sample_frames": 3,
            "sample_start_idx": 2,
            "frame_step": 4,
            "fps": 5,
            "width": 64,
            "height": 64,
        },
    }
    write_json(tmp_path / "config.yaml", config)
    settings = load_settings(tmp_path / "config.yaml")
    run = Run.create(settings.output_dir, settings)
    write_reference(run, tmp_path)
    frames, fps = read_video(tmp_path / REFERENCE)
    assert (frames.shape, fps) == ((3, 64, 64, 3), 5)
    whole = read_video(clip_path)[0][2::4][:, :, 8:72]  # the centre of 80x64
    assert np.abs(frames.astype(int) - whole).mean() < 4
    run.config_file.unlink()
    with pytest.raises(UserError, match="does not say which clip it was trained on"):
        write_reference(run, tmp_path)
