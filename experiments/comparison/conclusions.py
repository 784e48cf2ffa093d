"""Draw the conclusions: the choice of the tuning, means with intervals, differences, verdicts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.comparison.config import ComparisonConfig
from experiments.comparison.measurement import METRICS
from experiments.comparison.methods import BASE, FEATURE_MATCHING, PIXEL_METHODS, RESTING, title
from experiments.comparison.outcome import (
    COMPARED,
    COMPARED_AT_EQUAL_SECONDS,
    Ablation,
    Arm,
    Curve,
    Difference,
    Outcome,
)
from experiments.comparison.rows import Row, resting_rows, table
from experiments.comparison.statistics import (
    Choice,
    Verdict,
    choose,
    crossed_interval,
    has_less_error,
    leaks_less,
    moves_better,
    moves_equally,
    read_curve,
)

Array = NDArray[np.float64]


def tune(
    rows: Sequence[Row], config: ComparisonConfig
) -> tuple[dict[str, dict[tuple[float, int], float]], dict[str, Choice]]:
    """Choose every method's learning rate and steps by the rule fixed beforehand.

    Args:
        rows: Videos of the tuning.
        config: Its grid.

    Returns:
        `Outcome.grid` and `Outcome.choices`.
    """
    grid = {
        method: {
            (rate, steps): float(
                np.mean(
                    [
                        row.metrics["path_error"]
                        for row in rows
                        if (row.method, row.variant, row.step)
                        == (method, (f"learning_rate={rate:g}",), steps)
                    ]
                )
            )
            for rate in config.tuning.learning_rates
            for steps in config.steps
        }
        for method in config.methods
    }
    return grid, {method: choose(errors) for method, errors in grid.items()}


def conclude(
    config: ComparisonConfig,
    tuning: Sequence[Row],
    report: Sequence[Row],
    ablation: Sequence[Row],
    seconds_per_step: Mapping[str, float],
    missing_ablations: Sequence[str] = (),
) -> Outcome:
    """Draw the conclusions from all metrics.

    Args:
        config: What was compared.
        tuning: Videos of the tuning.
        report: Videos of the report.
        ablation: Videos of the ablations.
        seconds_per_step: Method -> training seconds per step on one core, NaN for unknown.
        missing_ablations: Cells of the ablations that could not be made.
    """
    grid, choices = tune(tuning, config)
    resting = resting_rows(config, config.report.motions)
    tables = ReportTables(config, [*report, *resting], choices, seconds_per_step)
    compared = [_find(tables, noise_prior) for noise_prior in config.noise_priors]
    resting_on_tuning = resting_rows(config, config.tuning.motions)
    return Outcome(
        grid,
        float(np.mean([row.metrics["path_error"] for row in resting_on_tuning])),
        choices,
        [
            tables.arm(method, noise_prior)
            for noise_prior in config.noise_priors
            for method in (BASE, *config.methods)
        ],
        tables.arm(RESTING, 0.0),
        [difference for part in compared for difference in part.differences],
        _curves(tables),
        tables.equal_seconds,
        [difference for part in compared for difference in part.at_equal_seconds],
        [verdict for part in compared for verdict in part.verdicts],
        [part.against_resting for part in compared],
        _ablations(ablation, config),
        list(missing_ablations),
    )


@dataclass(frozen=True)
class ReportTables:
    """Looks up the metrics of the report.

    Attributes:
        config: What was compared.
        rows: Videos of the report, and the resting object's.
        choices: Method -> what the tuning chose.
        seconds_per_step: Method -> training seconds per step on one core, NaN for unknown.
    """

    config: ComparisonConfig
    rows: Sequence[Row]
    choices: Mapping[str, Choice]
    seconds_per_step: Mapping[str, float]

    @property
    def equal_seconds(self) -> float:
        """The time that the quickest method takes for its last step."""
        known = [seconds for seconds in self.seconds_per_step.values() if not math.isnan(seconds)]
        return self.config.steps[-1] * min(known, default=math.nan)

    def videos(self, method: str, noise_prior: float, steps: int | None = None) -> list[Row]:
        """List the videos of a method after some steps; None for those chosen."""
        if steps is None:
            steps = self.choices[method].steps if method in self.choices else 0
        wanted = (method, steps, noise_prior)
        return [row for row in self.rows if (row.method, row.step, row.noise_prior) == wanted]

    def of(self, metric: str, method: str, noise_prior: float, steps: int | None = None) -> Array:
        """Table (motions, prompts) of a method after some steps; None for those chosen."""
        found = self.videos(method, noise_prior, steps)
        return table(found, metric, self.config.report.motions, len(self.config.prompts))

    def over_steps(self, metric: str, method: str, noise_prior: float) -> dict[int, Array]:
        """Tables (motions, prompts) of a method after each number of steps; 0 is the base."""
        trained = {
            steps: self.of(metric, method, noise_prior, steps) for steps in self.config.steps
        }
        return {0: self.of(metric, BASE, noise_prior), **trained}

    def at_equal_seconds(self, metric: str, method: str, noise_prior: float) -> Array:
        """Table (motions, prompts) of a method after the time that all have in common."""
        curve = self.over_steps(metric, method, noise_prior)
        return read_curve(curve, self.equal_seconds / self.seconds_per_step[method])

    def difference(self, noise_prior: float, other: str, other_prior: float) -> Difference:
        """Compare feature matching with another method on the same motions and prompts."""
        metrics = {
            metric: crossed_interval(
                self.of(metric, FEATURE_MATCHING, noise_prior) - self.of(metric, other, other_prior)
            )
            for metric in COMPARED
        }
        return Difference(noise_prior, title(other, other_prior), metrics)

    def difference_at_equal_seconds(self, noise_prior: float, other: str) -> Difference:
        """Compare feature matching with another method, each trained for as long."""
        metrics = {
            metric: crossed_interval(
                self.at_equal_seconds(metric, FEATURE_MATCHING, noise_prior)
                - self.at_equal_seconds(metric, other, noise_prior)
            )
            for metric in COMPARED_AT_EQUAL_SECONDS
        }
        return Difference(noise_prior, title(other, noise_prior), metrics)

    def arm(self, method: str, noise_prior: float) -> Arm:
        """Sum up a method as it was chosen and is sampled."""
        choice = self.choices.get(method)
        videos = self.videos(method, noise_prior)
        errors = self.of("path_error", method, noise_prior).mean(axis=1)
        return Arm(
            method,
            noise_prior,
            choice.learning_rate if choice else None,
            choice.steps if choice else 0,
            choice.steps * self.seconds_per_step[method] if choice else 0.0,
            {metric: crossed_interval(self.of(metric, method, noise_prior)) for metric in METRICS},
            {f: sum(not math.isnan(row.metrics[f]) for row in videos) for f in METRICS},
            dict(zip(self.config.report.motions, errors.tolist(), strict=True)),
        )


@dataclass(frozen=True)
class _Findings:
    """Feature matching with one noise prior against all others."""

    differences: list[Difference]
    at_equal_seconds: list[Difference]
    verdicts: list[Verdict]
    against_resting: Verdict


def _find(tables: ReportTables, noise_prior: float) -> _Findings:
    name = title(FEATURE_MATCHING, noise_prior)
    base_error = float(tables.of("path_error", BASE, 0.0).mean())
    differences, verdicts = [], []
    # Against every noise prior alone, its own or not: a training that any of them beats is no gain.
    for untrained_prior in tables.config.noise_priors:
        found = tables.difference(noise_prior, BASE, untrained_prior)
        differences.append(found)
        claim = f"{name} moves more like the reference than {found.other}"
        error, correlation = found.metrics["path_error"], found.metrics["correlation"]
        verdicts.append(moves_better(claim, error, correlation))
    pixel_methods = [method for method in PIXEL_METHODS if method in tables.config.methods]
    for method in pixel_methods:
        found = tables.difference(noise_prior, method, noise_prior)
        differences.append(found)
        equal = f"{name} moves at least as well as {found.other}"
        verdicts.append(moves_equally(equal, found.metrics["path_error"], base_error))
        less = f"{name} leaks less than {found.other}"
        leakages = found.metrics["leakage"], found.metrics["leakage_with_object"]
        verdicts.append(leaks_less(less, *leakages))
    resting = tables.difference(noise_prior, RESTING, 0.0)
    return _Findings(
        differences,
        [tables.difference_at_equal_seconds(noise_prior, method) for method in pixel_methods],
        verdicts,
        has_less_error(
            f"{name} has a lower path error than an object resting in the middle of the frame",
            resting.metrics["path_error"],
        ),
    )


def _curves(tables: ReportTables) -> list[Curve]:
    return [
        Curve(
            method,
            noise_prior,
            {
                steps: crossed_interval(errors)
                for steps, errors in tables.over_steps("path_error", method, noise_prior).items()
            },
            tables.seconds_per_step[method],
            crossed_interval(tables.at_equal_seconds("path_error", method, noise_prior)),
        )
        for noise_prior in tables.config.noise_priors
        for method in tables.config.methods
    ]


def _ablations(rows: Sequence[Row], config: ComparisonConfig) -> list[Ablation]:
    """Compare the variants all of whose cells are made with the unchanged settings."""
    motions, num_prompts = config.tuning.motions, len(config.prompts)
    kinds: dict[tuple[str, tuple[str, ...], float], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.method, row.variant, row.noise_prior), []).append(row)
    num_cells = len(motions) * config.ablation.seeds
    whole = {
        kind: {metric: table(found, metric, motions, num_prompts) for metric in COMPARED}
        for kind, found in kinds.items()
        if len({(row.motion, row.seed) for row in found}) == num_cells
    }
    # Feature matching's variants begin with the learning rate; the unchanged one has nothing else.
    trained = (row.variant[:1] for row in rows if row.method == FEATURE_MATCHING)
    unchanged = (FEATURE_MATCHING, next(trained, ()))
    ablations = []
    for (method, variant, noise_prior), tables in whole.items():
        difference = None
        if (method, variant) != unchanged and (*unchanged, noise_prior) in whole:
            unchanged_errors = whole[*unchanged, noise_prior]["path_error"]
            difference = crossed_interval(tables["path_error"] - unchanged_errors)
        metrics = {metric: crossed_interval(values) for metric, values in tables.items()}
        ablations.append(Ablation(method, variant[1:], noise_prior, metrics, difference))
    return ablations
