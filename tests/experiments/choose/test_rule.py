"""The rule of docs/choosing.md, on values made up for it."""

from collections.abc import Callable

import pytest

from evaluation.metrics import (
    COLOURS_TAKEN_OVER,
    LOOKS_TAKEN_OVER,
    MOTION_DISCREPANCY,
    OBJECT_DISCREPANCY,
)
from experiments.choose.rule import MAX_TAKEN_OVER, decide, motion_distances
from experiments.choose.trials import Trial
from motionmatcher.runs.choice import Choice

Make = Callable[..., Trial]


def test_the_nearest_motion_that_does_not_leak_is_chosen(trial: Make) -> None:
    base = trial(0, 0.0, [0.09, 0.07])
    trials = [
        trial(100, 0.0, [0.05, 0.03]),
        trial(100, 0.3, [0.03, 0.02]),
        trial(200, 0.3, [0.01, 0.01], looks=0.11),
    ]
    decision = decide(trials, base, {})
    assert decision.chosen == Choice(100, 0.3, 1.0)
    assert decision.motion is MOTION_DISCREPANCY
    assert decision.looks is COLOURS_TAKEN_OVER
    assert decision.line == (
        "Recommended: checkpoint 100, noise prior 0.3, LoRA scale 1 (motion discrepancy 0.02500, the base's "
        "0.08000; colours taken over 0.000)."
    )


def test_a_share_at_the_limit_is_no_leak_yet(trial: Make) -> None:
    trials = [trial(1, 0.0, [0.02]), trial(2, 0.0, [0.01], looks=MAX_TAKEN_OVER)]
    assert decide(trials, trial(0, 0.0, [0.09]), {}).chosen == Choice(2, 0.0, 1.0)


def test_ties_go_to_the_earlier_checkpoint_then_to_the_lower_prior(trial: Make) -> None:
    trials = [trial(2, 0.0, [0.01]), trial(1, 0.5, [0.01]), trial(1, 0.3, [0.01])]
    assert decide(trials, trial(0, 0.0, [0.09]), {}).chosen == Choice(1, 0.3, 1.0)


def test_when_all_leak_the_least_one_is_chosen(trial: Make) -> None:
    trials = [trial(1, 0.0, [0.01], looks=0.5), trial(2, 0.0, [0.02], looks=0.4)]
    decision = decide(trials, trial(0, 0.0, [0.09]), {})
    assert decision.chosen == Choice(2, 0.0, 1.0)
    assert decision.line.endswith("Every setting leaks (over 0.1); this one does least.")


def test_looks_are_clip_s_where_there_is_one(trial: Make) -> None:
    trials = [
        trial(1, 0.0, [0.01], looks_taken_over=0.2),
        trial(2, 0.0, [0.02], 0.9, looks_taken_over=0.0),
    ]
    decision = decide(trials, trial(0, 0.0, [0.09], looks_taken_over=0.0), {})
    assert decision.looks is LOOKS_TAKEN_OVER
    assert decision.chosen == Choice(2, 0.0, 1.0)


def test_looks_that_are_not_defined_are_no_leak(trial: Make) -> None:
    trials = [trial(1, 0.0, [0.01], looks=None)]
    assert decide(trials, trial(0, 0.0, [0.09], looks=None), {}).chosen == Choice(1, 0.0, 1.0)


def test_motion_is_judged_by_the_first_metric_that_can_be_trusted(trial: Make) -> None:
    trials = [
        trial(1, 0.0, [0.01], object_discrepancy=0.2),
        trial(2, 0.0, [0.02], object_discrepancy=0.1),
    ]
    base = trial(0, 0.0, [0.09], object_discrepancy=0.3)
    decision = decide(trials, base, {"motion_discrepancy", "visible_discrepancy"})
    assert decision.motion is OBJECT_DISCREPANCY
    assert decision.chosen == Choice(2, 0.0, 1.0)


def test_without_a_metric_to_trust_nothing_is_recommended(trial: Make) -> None:
    doubted = {
        f"{name}_discrepancy" for name in ("motion", "visible", "object", "centred", "camera")
    }
    decision = decide([trial(1, 0.0, [0.01])], trial(0, 0.0, [0.09]), doubted)
    assert decision.chosen is None
    assert decision.line.startswith("No setting is recommended: on this clip no motion metric")
    assert decision.shown_motion is MOTION_DISCREPANCY


def test_a_choice_no_nearer_than_the_base_is_said(trial: Make) -> None:
    decision = decide([trial(1, 0.0, [0.09])], trial(0, 0.0, [0.09]), {})
    assert decision.line.endswith(
        "It moves no nearer to the reference than the base does: train on."
    )


def test_a_video_that_cannot_be_followed_counts_as_the_farthest(trial: Make) -> None:
    trials = [trial(1, 0.0, [0.01, None]), trial(2, 0.0, [0.02, 0.04])]
    assert motion_distances(trials, MOTION_DISCREPANCY) == pytest.approx([0.025, 0.03])
    trials = [trial(1, 0.0, [0.01, None]), trial(2, 0.0, [0.02, 0.08])]
    assert motion_distances(trials, MOTION_DISCREPANCY) == pytest.approx([0.045, 0.05])
