"""Three clips against one: what is rendered and trained, and what the page says of it."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from experiments.compare.cells import CellJob
from experiments.compare.config import load_comparison
from experiments.compare.methods import BASE, FEATURE_MATCHING
from experiments.compare.rows import Row
from experiments.several_clips.__main__ import CONFIG, METHODS, MOTIONS
from experiments.several_clips.clips import LOOKS, clip_files, render_clips
from experiments.several_clips.measuring import ONE, REGIMES_OF, THREE, Question, make_jobs
from experiments.several_clips.report import PAGE, compare_arms, write_report
from motionmatcher.clips.video import read_video
from motionmatcher.paths import shipped
from testbed.measurement import METRICS
from testbed.tracker import measure_clip
from testbed.truth import read_truth


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    render_clips(folder, ["swing"])
    return folder


def test_the_clips_share_their_path_and_no_look(clips: Path) -> None:
    files = clip_files(clips, "swing")
    truths = [read_truth(file) for file in files]
    assert len(truths) == 3
    for name in ("color", "shape", "background_style", "background_color"):
        assert len({truth.appearance[name] for truth in truths}) == 3
    for file, truth in zip(files, truths, strict=True):
        assert np.array_equal(truth.path, truths[0].path)
        seen = measure_clip(read_video(file)[0])
        assert (seen.color, seen.shape) == (truth.appearance["color"], truth.appearance["shape"])
        assert np.abs(seen.path - truth.path).max() < 0.8, "no shape is cut off at the frame's edge"


def test_every_motion_has_looks_that_differ() -> None:
    assert set(LOOKS) == set(MOTIONS)
    for looks in LOOKS.values():
        for part, names in enumerate(zip(*looks, strict=True)):
            assert len(set(names)) >= (2 if part == 2 else 3)


def jobs_of(clips: Path, seeds: int = 2) -> list[CellJob]:
    question = Question(("swing",), seeds, 5, METHODS)
    return make_jobs(load_comparison(shipped(CONFIG)), question, clips, clips / "cells")


def test_a_seed_s_look_stands_first_in_both_arms(clips: Path) -> None:
    jobs = jobs_of(clips)
    assert len(jobs) == 2 + 2 * 2 * 2
    assert len({job.result for job in jobs}) == len(jobs)
    files = [str(file) for file in clip_files(clips, "swing")]
    for job in jobs:
        seed, data = job.cell.seed, job.settings.train_data
        paths = [each.single_video_path for each in data.each]
        assert paths[0] == files[seed]
        assert sorted(paths) == (sorted(files) if job.cell.changes == (THREE,) else [files[seed]])
        if job.cell.changes == (THREE,) and seed == 0:
            assert data.prompts == ["a circle", "a triangle", "a star"]
    trained = {job.cell.method: job.settings for job in jobs if job.cell.method != BASE}
    assert set(trained) == set(METHODS) == set(REGIMES_OF)
    assert [trained[method].min_timestep for method in METHODS] == [667, 1]
    assert {settings.max_train_steps for settings in trained.values()} == {5}


def test_results_do_not_depend_on_where_the_clips_lie(clips: Path, tmp_path: Path) -> None:
    render_clips(tmp_path, ["swing"])
    names = [[job.result.name for job in jobs_of(folder)] for folder in (clips, tmp_path)]
    assert names[0] == names[1]


def row(arm: str, seed: int, prompt: int, error: float, leakage: float) -> Row:
    metrics = {name: float("nan") for name in METRICS}
    metrics |= {"path_error": error, "leakage": leakage}
    return Row(
        stage="several clips",
        method=FEATURE_MATCHING if arm else BASE,
        regime="open" if arm else "",
        caption="full" if arm else "",
        changes=arm,
        motion="swing",
        seed=seed,
        prompt=prompt,
        metrics=metrics,
    )


def test_the_arms_are_compared_in_pairs(tmp_path: Path) -> None:
    errors = {"": (20, 22), ONE: (8, 6), THREE: (5, 4)}
    rows = [
        row(arm, seed, prompt, error + seed, error / 100)
        for arm, each in errors.items()
        for seed in range(2)
        for prompt, error in enumerate(each)
    ]
    entry = compare_arms(rows, [FEATURE_MATCHING])[0]
    assert entry["metric"] == "path_error"
    means = {key: entry[key].mean for key in ("base", ONE, THREE, "difference")}
    assert means == {"base": 21.5, ONE: 7.5, THREE: 5.0, "difference": -2.5}

    question = Question(("swing",), 2, 5, (FEATURE_MATCHING,))
    write_report(tmp_path, rows, question, tmp_path / "found.json")
    page = (tmp_path / PAGE).read_text()
    assert "| feature matching, at high noise | base |" in page
    assert "| path error, px | 21.50 | 7.50 | 5.00 | -2.50 |" in page
    assert "| leakage | 0.210 | 0.070 | 0.045 | -0.025 |" in page
    assert "A small trial of the program" in page
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["question"] == json.loads(json.dumps(asdict(question)))
    assert written["results"][0]["difference"]["mean"] == -2.5
