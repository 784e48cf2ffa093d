"""Conclusions from metrics made up by hand."""

import dataclasses
import math
from pathlib import Path

import pytest
from launching import PROJECT

from experiments.comparison.conclusions import conclude
from experiments.comparison.config import ComparisonConfig, load_comparison
from experiments.comparison.measurement import METRICS
from experiments.comparison.methods import BASE, FEATURE_MATCHING
from experiments.comparison.outcome import Outcome
from experiments.comparison.rows import Row

MOTIONS = ("spiral", "staircase")
BASE_ERROR = 20.0
# Path error after 100 and 200 steps.
ERRORS = {"denoising": (12.0, 8.0), FEATURE_MATCHING: (10.0, 4.0)}
LEAKAGE = {BASE: 0.0, "denoising": 0.4, FEATURE_MATCHING: 0.1}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> ComparisonConfig:
    monkeypatch.chdir(PROJECT)
    full = load_comparison(Path("experiments/comparison.yaml"))
    return dataclasses.replace(
        full,
        methods=["denoising", FEATURE_MATCHING],
        prompts=full.prompts[:1],
        steps=[100, 200],
        tuning=dataclasses.replace(full.tuning, motions=["swing"], learning_rates=[3e-3]),
        report=dataclasses.replace(full.report, motions=list(MOTIONS)),
    )


def make_row(stage: str, method: str, motion: str, step: int, prior: float, error: float) -> Row:
    # One of the videos has lost its object: it leaks less than it would.
    lost = (method, motion, step) == ("denoising", "staircase", 200)
    leakage = LEAKAGE[method] * step / 200
    metrics = dict.fromkeys(METRICS, 0.0) | {
        "path_error": error,
        "correlation": 1 - error / 20,
        "leakage": 0.0 if lost else leakage,
        "leakage_with_object": math.nan if lost else leakage,
    }
    variant = () if method == BASE else ("learning_rate=0.003",)
    return Row(stage, method, variant, motion, 0, step, prior, 0, 0, metrics)


@pytest.fixture
def outcome(config: ComparisonConfig) -> Outcome:
    tuning, report = [], []
    for prior in config.noise_priors:
        for method, errors in ERRORS.items():
            for step, error in zip(config.steps, errors, strict=True):
                tuning.append(make_row("tuning", method, "swing", step, prior, error))
                report += [
                    make_row("report", method, motion, step, prior, error) for motion in MOTIONS
                ]
        report += [make_row("report", BASE, motion, 0, prior, BASE_ERROR) for motion in MOTIONS]
    # Feature matching takes twice as long: at equal time it has made half the steps.
    seconds = {"denoising": 0.5, FEATURE_MATCHING: 1.0}
    return conclude(config, tuning, report, [], seconds, ["a cell"])


def test_equal_time_compares_the_same_seconds(outcome: Outcome) -> None:
    assert outcome.equal_seconds == 100.0
    first = outcome.differences_at_equal_seconds[0]
    assert (first.noise_prior, first.other) == (0, "denoising loss")
    # Feature matching after 100 steps less the denoising loss after 200.
    assert first.metrics["path_error"].mean == 10.0 - 8.0
    assert first.metrics["leakage"].mean == pytest.approx(0.05 - (0.4 + 0.0) / 2)
    assert first.metrics["leakage_with_object"].mean == pytest.approx(0.05 - 0.4)
    assert first.metrics["leakage_with_object"].n == 1
    assert len(outcome.differences_at_equal_seconds) == 2  # one per noise prior


def test_at_equal_steps_feature_matching_is_compared_as_chosen(outcome: Outcome) -> None:
    assert outcome.choices[FEATURE_MATCHING].steps == 200
    by_other = {d.other: d for d in outcome.differences if d.noise_prior == 0}
    assert list(by_other) == ["base", "noise prior 0.3 alone", "denoising loss"]
    assert by_other["base"].metrics["path_error"].mean == 4.0 - 20.0
    assert by_other["denoising loss"].metrics["path_error"].mean == 4.0 - 8.0


def test_denominators_are_the_videos_a_figure_is_about(outcome: Outcome) -> None:
    arm = next(arm for arm in outcome.arms if (arm.method, arm.noise_prior) == ("denoising", 0))
    assert (arm.num_videos["leakage"], arm.num_videos["leakage_with_object"]) == (2, 1)


def test_verdicts_without_and_with_noise_prior(outcome: Outcome) -> None:
    holds = {verdict.claim: verdict.holds for verdict in outcome.verdicts}
    for name, prior in (
        ("feature matching", ""),
        ("feature matching + noise prior 0.3", " + noise prior 0.3"),
    ):
        assert holds[f"{name} moves more like the reference than base"]
        assert holds[f"{name} moves more like the reference than noise prior 0.3 alone"]
        assert holds[f"{name} moves at least as well as denoising loss{prior}"]
        # Of the videos with an object one motion is left, which says nothing of others.
        assert not holds[f"{name} leaks less than denoising loss{prior}"]
    assert len(holds) == 8
    assert not outcome.claim_holds
    # 4 px against 14.1 and 19.2 px of an object at rest: two motions so far apart settle nothing.
    for verdict in outcome.resting_verdicts:
        assert not verdict.holds
        assert verdict.evidence.startswith("path error -12.64 [-")
    assert outcome.missing_ablations == ["a cell"]
