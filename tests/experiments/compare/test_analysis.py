"""What is decided, chosen and claimed, of rows made up by hand."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from comparison_examples import CONDITIONS, REPORT_MOTIONS, make_row, report_rows

from evaluation.intervals import Interval
from experiments.compare.analysis import (
    Arm,
    Decision,
    Option,
    Part,
    Report,
    Tables,
    Tuned,
    decisions,
    tune,
)
from experiments.compare.cells import Choice
from experiments.compare.rows import Row

GATED, OPEN = CONDITIONS


def test_tables_average_over_seeds_and_samples() -> None:
    errors = {
        ("a", 0): [1.0, 2.0, math.nan],
        ("a", 1): [math.nan],
        ("b", 0): [5.0],
        ("b", 1): [6.0],
    }
    rows = [
        make_row("report", "vmc", motion, prompt=prompt, seed=seed, path_error=error)
        for (motion, prompt), values in errors.items()
        for seed, error in enumerate(values)
    ]
    found = Tables(rows).table("path_error", rows)
    assert np.array_equal(found, [[1.5, math.nan], [5.0, 6.0]], equal_nan=True)
    turned = Tables(rows[::-1])
    assert turned.motions == ["b", "a"]
    assert turned.table("path_error", rows)[0].tolist() == [5.0, 6.0]  # paired by name


@pytest.mark.parametrize(
    ("margin", "choice"), [(0.0, (3e-3, 400)), (0.95, (3e-3, 200)), (1.0, (1e-3, 50))]
)
def test_choice_is_the_fewest_steps_near_the_lowest_error_at_their_best_rate(
    margin: float, choice: tuple[float, int]
) -> None:
    errors = {
        (1e-3, 50): 5.0,
        (1e-3, 200): 4.9,
        (3e-3, 100): 5.0,
        (3e-3, 200): 4.5,
        (3e-3, 400): 4.0,
    }
    assert Tuned("vmc", "open", errors, margin).choice == Choice(*choice)


def test_of_equal_errors_the_lower_rate_is_chosen() -> None:
    equal = {(3e-3, 100): 5.0, (1e-3, 100): 5.0}
    assert Tuned("vmc", "open", equal, 0.0).choice == Choice(1e-3, 100)


@pytest.mark.parametrize(
    ("best", "edges"),
    [
        ((2e-3, 100), []),
        ((4e-3, 200), ["highest learning rate", "most steps"]),
        ((1e-3, 50), ["lowest learning rate", "fewest steps"]),
        ((2e-3, 200), ["most steps"]),
    ],
)
def test_choices_at_the_grids_edge_are_told(best: tuple[float, int], edges: list[str]) -> None:
    grid = {(rate, steps): 9.0 for rate in (1e-3, 2e-3, 4e-3) for steps in (50, 100, 200)}
    assert Tuned("vmc", "gated", grid | {best: 5.0}, 1.0).edges == edges


def test_tuning_averages_over_all_but_rate_and_steps() -> None:
    def tuning(error: float, motion: str = "a", **values: Any) -> Row:
        common = {"regime": "gated", "learning_rate": 1e-3, "step": 50}
        return make_row("tuning", "vmc", motion, path_error=error, **{**common, **values})

    rows = [
        tuning(4.0),
        tuning(6.0, motion="b"),
        tuning(8.0, prompt=1),
        tuning(10.0, noise_prior=0.3),
        tuning(1.0, step=100),
        tuning(2.0, regime="open"),
        make_row("tuning", "base", "a", path_error=20.0),
        make_row("tuning", "base", "b", path_error=10.0),
        make_row("tuning", "base", "a", path_error=99.0, noise_prior=0.3),
        make_row("report", "base", "a", path_error=99.0),
        make_row("report", "vmc", "a", regime="gated", path_error=0.0),
        make_row("decide loss", "vmc", "a", regime="gated", path_error=0.0),
    ]
    gated, free = tune(rows)
    assert (gated.method, gated.regime) == ("vmc", "gated")
    assert gated.margin == free.margin == 1.5  # 10 % of the base's
    assert gated.errors == {(1e-3, 50): 7.0, (1e-3, 100): 1.0}
    assert free.errors == {(1e-3, 50): 2.0}


def option(name: str, error: float, leaks: bool) -> Option:
    more = Interval(0.1, 0.05 if leaks else -0.05, 0.2, 8)
    return Option((name,), Interval(error, None, None, 8), Interval(0.2, None, None, 8), more)


def test_an_option_that_leaks_is_not_chosen_though_it_is_nearer() -> None:
    first, leaking, best = option("a", 9, False), option("b", 3, True), option("c", 5, False)
    assert Decision("loss", [first, leaking, best]).chosen is best
    assert Decision("loss", [leaking, first]).chosen is first
    assert Decision("loss", [option("a", 5, True), leaking]).chosen.changes == ("a",)
    assert Decision("loss", [best, option("d", 5, False)]).chosen is best  # of equals the first


def decision_rows(leakages: Mapping[str, float], base: Mapping[int, float]) -> list[Row]:
    return [
        *(
            make_row("tuning", "base", motion, seed=seed, leakage=leakage, noise_prior=prior)
            for motion in "abcd"
            for seed, own in base.items()
            for prior, leakage in ((0.0, own), (0.3, 1.0))
        ),
        *(make_row("tuning", "resting_object", motion, leakage=math.nan) for motion in "abcd"),
        *(
            make_row(
                f"decide {name.partition(':')[0]}",
                "feature_matching",
                motion,
                changes=name.partition(":")[2],
                leakage=leakage,
                path_error=10 - 10 * leakage,
            )
            for name, leakage in leakages.items()
            for motion in "abcd"
        ),
    ]


def test_decisions_compare_their_options_with_the_base() -> None:
    options = {
        "loss:": 0.1,
        "loss:feature_loss=log": 0.3,
        "rank:feature_loss=log; lora_rank=8": 0.1,
    }
    loss, rank = decisions(decision_rows(options, {0: 0.1}))
    assert (loss.name, rank.name) == ("loss", "rank")
    shared, log = loss.options
    assert (shared.changes, log.changes) == ((), ("feature_loss=log",))
    assert (shared.error.mean, log.error.mean) == (9.0, 7.0)
    assert log.leakage.mean == pytest.approx(0.3)
    assert log.more_leakage.mean == pytest.approx(0.2)
    assert (shared.allowed, log.allowed) == (True, False)
    assert loss.chosen is shared
    assert rank.chosen.changes == ("feature_loss=log", "lora_rank=8")


def test_options_are_paired_with_the_base_of_their_own_seeds() -> None:
    # Of the second seed no option is trained: its start noises say nothing of theirs.
    (loss,) = decisions(decision_rows({"loss:feature_loss=log": 0.3}, {0: 0.1, 1: 0.9}))
    assert loss.options[0].more_leakage.mean == pytest.approx(0.2)


def parts_of(rows: list[Row], letter: str) -> dict[str, Part]:
    found = [part for part in Report(rows).parts() if part.letter == letter]
    return {f"{part.condition[0]}: {part.claim}": part for part in found}


def test_all_parts_hold_of_a_method_that_moves_and_does_not_leak() -> None:
    parts = Report(report_rows()).parts()
    assert [part.letter for part in parts] == ["a"] * 8 + ["b"] + ["c"] * 2
    assert all(part.holds for part in parts)
    assert {part.condition for part in parts if part.letter == "b"} == {OPEN}
    assert {part.condition for part in parts if part.letter == "c"} == {GATED}


def test_moving_better_needs_place_and_direction_against_base_and_noise_prior() -> None:
    name = "gated: feature matching moves better than base"
    part = parts_of(report_rows(), "a")[name]
    assert part.evidence == (
        "path error -12.00 [-12.00, -12.00] px, correlation +0.50 [+0.50, +0.50]"
    )
    at_rest = report_rows({("feature_matching", "gated", 100, 0.0): {"correlation": 0.0}})
    assert not parts_of(at_rest, "a")[name].holds
    astray = report_rows({("feature_matching", "gated", 100, 0.0): {"path_error": 16.0}})
    found = parts_of(astray, "a")
    assert found[name].holds
    assert not found["gated: feature matching moves better than noise prior 0.3 alone"].holds
    assert found["open: feature matching moves better than noise prior 0.3 alone"].holds
    assert found[
        "gated: feature matching + noise prior 0.3 moves better than noise prior 0.3 alone"
    ].holds


def test_what_motions_disagree_on_does_not_hold() -> None:
    rows = report_rows()
    for row in rows:
        if row.stage == "report" and row.method == "base" and row.motion == REPORT_MOTIONS[0]:
            row.metrics["path_error"] = 1.0  # type: ignore[index]
    part = parts_of(rows, "a")["gated: feature matching moves better than base"]
    assert part.evidence.startswith("path error -7.25 [-")
    assert not part.holds


def test_one_motion_shows_nothing() -> None:
    rows = [row for row in report_rows() if row.motion in ("tuned", REPORT_MOTIONS[0])]
    assert not any(part.holds for part in Report(rows).parts())


def test_leaking_less_is_asked_at_equal_error() -> None:
    name = "open: feature matching leaks less than denoising loss at equal path error"
    part = parts_of(report_rows(), "b")[name]
    # Feature matching comes down to 8 px, the other to 10: there they leak 0.075 and 0.5.
    assert part.evidence == "leakage -0.425 [-0.425, -0.425]"
    # At the chosen steps it would still leak less, but at 10 px no longer.
    early = report_rows({("feature_matching", "open", 50, 0.0): {"leakage": 0.9}})
    assert not parts_of(early, "b")[name].holds
    only_with_prior = report_rows({("feature_matching", "open", 100, 0.3): {"leakage": 0.9}})
    assert parts_of(only_with_prior, "b")[name].holds


def test_moving_no_worse_leaves_out_a_tenth_of_the_base() -> None:
    name = "gated: feature matching moves no worse than denoising loss"
    for error, holds in ((11.99, True), (12.01, False)):  # of 10 px, and the base has 20
        rows = report_rows({("feature_matching", "gated", 100, 0.0): {"path_error": error}})
        part = parts_of(rows, "c")[name]
        assert part.holds == holds
        assert part.evidence.endswith("px, margin +2.00 px")
    same_prior = parts_of(report_rows(), "c")[
        "gated: feature matching + noise prior 0.3 moves no worse than denoising loss + noise prior 0.3"
    ]
    assert same_prior.evidence.startswith("path error -2.00 ")  # 7 px and 9 px


def test_published_loss_is_asked_as_well() -> None:
    rows = report_rows()
    rows += [
        Row(**{**vars(row), "method": "published"})
        for row in rows
        if row.method == "feature_matching"
    ]
    parts = Report(rows).parts()
    assert len(parts) == 2 * (8 + 1 + 2)
    assert "feature matching, published loss moves better than base" in {p.claim for p in parts}


def test_curves_begin_with_the_base_and_have_no_noise_prior() -> None:
    report = Report(report_rows())
    assert report.curve(OPEN, "denoising") == [
        Arm("base"),
        Arm("denoising", *OPEN, 50),
        Arm("denoising", *OPEN, 100),
    ]
    assert report.arm(OPEN, "denoising", 0.3) == Arm("denoising", *OPEN, 100, 0.3)
    assert report.arm(OPEN, "base", 0.3) == Arm("base", noise_prior=0.3)
    assert (report.conditions, report.priors) == ([GATED, OPEN], [0.0, 0.3])
    assert report.methods(OPEN) == ["denoising", "feature_matching"]


def test_each_map_alone_has_the_steps_chosen_for_both() -> None:
    rows = report_rows()
    of_both = [row for row in rows if (row.stage, row.method) == ("report", "feature_matching")]
    rows += [Row(**{**vars(row), "method": "cross_only"}) for row in of_both]
    report = Report(rows)
    assert report.methods(GATED) == ["denoising", "feature_matching", "cross_only"]
    assert report.arm(GATED, "cross_only", 0.3) == Arm("cross_only", *GATED, 100, 0.3)


def test_areas_reach_down_to_what_all_methods_reach() -> None:
    areas = Report(report_rows()).areas(OPEN)
    # From 20 px to 10: the denoising loss comes to 0.2 at 14 px and to 0.5 at 10; feature matching
    # from 0 to 0.05 at 12 px, and to 0.075 at 10.
    assert areas["denoising"].mean == pytest.approx(0.1 * 6 + 0.35 * 4, rel=1e-3)
    assert areas["feature_matching"].mean == pytest.approx(0.025 * 8 + 0.0625 * 2, rel=1e-3)
