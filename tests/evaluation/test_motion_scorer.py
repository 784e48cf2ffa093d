"""The motion metrics on whole clips, with their controls."""

from collections.abc import Callable

import numpy as np
import pytest
from small_models import Motion

from evaluation.controls import CONTROLS, COPY, ITSELF, doubts, score_controls
from evaluation.metrics import MOTION_METRICS
from evaluation.motion_scorer import MotionScorer
from motionmatcher.clips.video import Frames
from motionmatcher.tracking.flow_tracker import FlowTracker

SIZE, FRAMES = 64, 8


@pytest.fixture(scope="module")
def reference(render: Callable[..., Frames], similarity: Callable[..., Motion]) -> Frames:
    """A pan to the right and a square that goes down."""
    motions = [similarity(SIZE, pan=(2.0 * frame, 0.0)) for frame in range(FRAMES)]
    return render(SIZE, motions, [(10.0, 6.0 + 4 * frame) for frame in range(FRAMES)], 20)


@pytest.fixture(scope="module")
def scorer(reference: Frames) -> MotionScorer:
    return MotionScorer(FlowTracker(grid_size=16), reference)


def test_controls_lie_where_they_should(scorer: MotionScorer, reference: Frames) -> None:
    controls = score_controls(scorer, reference)
    assert list(controls) == list(CONTROLS)
    assert next(iter(controls)) == ITSELF
    for metric in MOTION_METRICS:
        best = 1.0 if metric.better == "higher" else 0.0
        assert controls[ITSELF][metric.name] == pytest.approx(best, abs=1e-12)
        for name in set(CONTROLS) - {ITSELF, COPY}:
            worse = controls[name][metric.name]
            assert (worse < 0.9) if metric.better == "higher" else (worse > 1e-4), (name, metric)
    assert doubts(MOTION_METRICS, controls, reference) == {}
    # Going the wrong way is worse than not going at all.
    for name in ("motion_discrepancy", "camera_discrepancy", "centred_discrepancy"):
        assert controls["reference frozen"][name] < controls["reference reversed"][name]
    assert controls["reference reversed"]["motion_fidelity"] < 0


def test_camera_and_objects_are_told_apart(
    scorer: MotionScorer, render: Callable[..., Frames], similarity: Callable[..., Motion]
) -> None:
    pan = [similarity(SIZE, pan=(2.0 * frame, 0.0)) for frame in range(FRAMES)]
    still = [similarity(SIZE)] * FRAMES
    # Where the reference's square is relative to the plane, the plane standing still.
    relative = [(10.0 - 2 * frame, 6.0 + 4 * frame) for frame in range(FRAMES)]
    only_camera = scorer.score(render(SIZE, pan, seed=1)).values
    only_object = scorer.score(render(SIZE, still, relative, 20, seed=1)).values
    assert only_camera["camera_discrepancy"] < 0.1 * only_object["camera_discrepancy"]
    assert only_object["object_discrepancy"] < 0.5 * only_camera["object_discrepancy"]


def test_size_and_time_are_brought_together_and_said(
    reference: Frames, scorer: MotionScorer
) -> None:
    larger = np.repeat(np.repeat(reference, 2, axis=1), 2, axis=2)
    scores = scorer.score(larger[::2])
    assert scores.notes == (
        "resized from 128x128 to 64x64",
        "time resampled from 4 to 8 frames",
    )
    # Every second frame at another size is the same motion all but for its end.
    assert scores.values["motion_discrepancy"] < 2e-3
    assert scorer.score(reference).notes == ()


def test_size_may_be_chosen(reference: Frames) -> None:
    scorer = MotionScorer(FlowTracker(grid_size=4), reference, height=32, width=48)
    assert scorer.settings["motion_size"] == "48x32"
    assert scorer.score(reference).notes == ("resized from 64x64 to 48x32",)
    assert scorer.score(reference).values["motion_discrepancy"] == 0.0
