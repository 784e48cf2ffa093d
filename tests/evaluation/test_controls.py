"""Which metrics are not to be trusted on a clip, by their controls."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.controls import CONTROLS, COPY, FROZEN, ITSELF, REVERSED, doubts
from evaluation.folders import OutputFolder
from evaluation.intervals import Interval
from evaluation.metrics import CLIP_T, MOTION_DISCREPANCY, MOTION_FIDELITY, Metric
from evaluation.results import position, print_positions, scores_as_dict
from evaluation.scoring import ScoredFolder, Scores
from motionmatcher.clips.video import Frames


def square(columns: list[int]) -> Frames:
    """A bright square on black, at a column in each frame."""
    frames = np.zeros((len(columns), 32, 32, 3), np.uint8)
    for frame, column in zip(frames, columns, strict=True):
        frame[12:20, column : column + 8] = 200
    return frames


MOVES = square([0, 8, 16, 24])
THERE_AND_BACK = square([0, 8, 8, 0])
STILL = square([8, 8, 8, 8])


def found(
    copy: float,
    frozen: float,
    back: float,
    frames: Frames = MOVES,
    metric: Metric = MOTION_FIDELITY,
) -> str | None:
    best = 1.0 if metric is MOTION_FIDELITY else 0.0
    values = {ITSELF: best, COPY: copy, FROZEN: frozen, REVERSED: back}
    controls = {name: {metric.name: value} for name, value in values.items()}
    return doubts([CLIP_T, metric], controls, frames).get(metric.name)


def test_a_metric_that_tells_the_motions_apart_is_trusted() -> None:
    assert found(0.9, 0.1, -0.5) is None
    assert found(0.001, 0.002, 0.009, metric=MOTION_DISCREPANCY) is None


def test_a_wrong_motion_that_scores_as_well_as_the_copy_is_said() -> None:
    reason = found(0.00213, 0.00168, 0.02, metric=MOTION_DISCREPANCY)
    assert reason == (
        "the reference frozen scores 0.00168, a faithful copy 0.00213: "
        "a wrong motion is not told from the right one"
    )
    assert "reference reversed scores 0.9500" in (found(0.9, 0.1, 0.95) or "")
    # Better than the copy is not enough: twice as far as its noise.
    assert found(0.001, 0.0019, 0.02, metric=MOTION_DISCREPANCY) is not None
    # All the same is no order.
    assert found(0.0, 0.0, 0.0, metric=MOTION_DISCREPANCY) is not None
    assert found(0.001, np.nan, 0.02, metric=MOTION_DISCREPANCY) is not None


def test_a_control_that_is_the_reference_again_is_not_asked() -> None:
    assert found(0.001, 0.02, 0.0, THERE_AND_BACK, MOTION_DISCREPANCY) is None
    assert "frozen" in (found(0.001, 0.0, 0.02, THERE_AND_BACK, MOTION_DISCREPANCY) or "")
    assert found(0.0, 0.0, 0.0, STILL) == (
        "nothing moves in the reference: frozen and reversed it is the same clip"
    )


def test_a_reference_in_which_nothing_can_be_followed() -> None:
    assert found(np.nan, np.nan, np.nan) == "nothing in the reference can be followed"


@pytest.mark.parametrize("size", [(32, 32), (31, 33)])
def test_the_faithful_copy_has_the_references_shape(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(100, 120, (3, *size, 3), dtype=np.uint8)
    copy = CONTROLS[COPY](frames)
    assert copy.shape == frames.shape
    assert 0 < np.abs(copy.astype(int) - frames).mean() < 8


@pytest.fixture
def scores(tmp_path: Path) -> Scores:
    metrics = [CLIP_T, MOTION_DISCREPANCY, MOTION_FIDELITY]
    controls = {
        ITSELF: {"motion_discrepancy": 0.0, "motion_fidelity": 1.0},
        COPY: {"motion_discrepancy": 0.002, "motion_fidelity": 0.9},
        FROZEN: {"motion_discrepancy": 0.001, "motion_fidelity": 0.0},
    }
    folder = ScoredFolder(OutputFolder(tmp_path / "a", ()), ())
    return Scores(metrics, {}, [folder], controls, {"motion_discrepancy": "it is noise"})


def test_no_percentage_where_the_controls_say_nothing(
    scores: Scores, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = Interval(0.25, None, None, 1)
    assert position(mean, MOTION_FIDELITY, scores) == (75.0, FROZEN)
    assert position(mean, MOTION_DISCREPANCY, scores) is None
    assert position(mean, CLIP_T, scores) is None
    print_positions(scores)
    output = capsys.readouterr().out
    assert "Motion discrepancy: – not to be trusted on this clip: it is noise" in output


def test_json_says_what_is_trusted(scores: Scores) -> None:
    metrics = scores_as_dict(scores)["metrics"]
    assert [metrics[name]["trusted"] for name in metrics] == [None, False, True]
    assert [metrics[name]["doubt"] for name in metrics] == [None, "it is noise", None]
