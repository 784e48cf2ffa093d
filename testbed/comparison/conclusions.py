"""Draw the conclusions: the choice of the tuning, means with intervals, differences, verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.comparison.config import ComparisonConfig
from testbed.comparison.figures import Row, table
from testbed.comparison.measurement import FIGURES
from testbed.comparison.methods import BASE, FEATURE_MATCHING, PIXEL_METHODS, title
from testbed.comparison.outcome import COMPARED, Ablation, Arm, Curve, Difference, Outcome
from testbed.comparison.statistics import (
    Choice,
    Verdict,
    choose,
    crossed_interval,
    error_at_seconds,
    leaks_less,
    moves_better,
    moves_equally,
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
                        row.figures["path_error"]
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
) -> Outcome:
    """Draw the conclusions from all figures.

    Args:
        config: What was compared.
        tuning: Videos of the tuning.
        report: Videos of the report.
        ablation: Videos of the ablations.
        seconds_per_step: Method -> training seconds a step on one core.
    """
    grid, choices = tune(tuning, config)
    tables = ReportTables(config, report, choices)
    base_error = float(tables.of("path_error", BASE, 0.0).mean())
    differences, verdicts = [], []
    for noise_prior in config.noise_priors:
        for found, judged in _judge(tables, noise_prior, base_error):
            differences.append(found)
            verdicts += judged
    equal_seconds = config.steps[-1] * min(seconds_per_step[method] for method in config.methods)
    return Outcome(
        grid,
        choices,
        _arms(tables, seconds_per_step),
        differences,
        _curves(tables, seconds_per_step, equal_seconds),
        equal_seconds,
        verdicts,
        _ablations(ablation, config),
    )


@dataclass(frozen=True)
class ReportTables:
    """Looks up the figures of the report.

    Attributes:
        config: What was compared.
        rows: Videos of the report.
        choices: Method -> what the tuning chose.
    """

    config: ComparisonConfig
    rows: Sequence[Row]
    choices: Mapping[str, Choice]

    def of(self, figure: str, method: str, noise_prior: float, steps: int | None = None) -> Array:
        """Table (motions, prompts) of a method after some steps; None for those chosen."""
        if steps is None:
            steps = self.choices[method].steps if method != BASE else 0
        wanted = (method if steps else BASE, steps, noise_prior)
        found = (row for row in self.rows if (row.method, row.step, row.noise_prior) == wanted)
        return table(found, figure, self.config.report.motions, len(self.config.prompts))

    def difference(self, noise_prior: float, other: str, other_prior: float) -> Difference:
        """Compare feature matching with another method on the same motions and prompts."""
        figures = {
            figure: crossed_interval(
                self.of(figure, FEATURE_MATCHING, noise_prior) - self.of(figure, other, other_prior)
            )
            for figure in COMPARED
        }
        return Difference(noise_prior, title(other, other_prior), figures)


def _arms(tables: ReportTables, seconds_per_step: Mapping[str, float]) -> list[Arm]:
    arms = []
    for noise_prior in tables.config.noise_priors:
        for method in (BASE, *tables.config.methods):
            choice = tables.choices.get(method)
            errors = tables.of("path_error", method, noise_prior).mean(axis=1)
            arms.append(
                Arm(
                    method,
                    noise_prior,
                    choice.learning_rate if choice else None,
                    choice.steps if choice else 0,
                    choice.steps * seconds_per_step[method] if choice else 0.0,
                    {f: crossed_interval(tables.of(f, method, noise_prior)) for f in FIGURES},
                    dict(zip(tables.config.report.motions, errors.tolist(), strict=True)),
                )
            )
    return arms


def _judge(
    tables: ReportTables, noise_prior: float, base_error: float
) -> Iterator[tuple[Difference, list[Verdict]]]:
    """Compare feature matching with one noise prior with all others, and judge the claim's parts."""
    name = title(FEATURE_MATCHING, noise_prior)
    for untrained_prior in sorted({0.0, noise_prior}):
        found = tables.difference(noise_prior, BASE, untrained_prior)
        claim = f"{name} moves more like the reference than {found.other}"
        yield found, [moves_better(claim, found.figures["path_error"])]
    for method in (method for method in PIXEL_METHODS if method in tables.config.methods):
        found = tables.difference(noise_prior, method, noise_prior)
        equal = f"{name} moves at least as well as {found.other}"
        less = f"{name} leaks less than {found.other}"
        yield (
            found,
            [
                moves_equally(equal, found.figures["path_error"], base_error),
                leaks_less(less, found.figures["leakage"]),
            ],
        )


def _curves(
    tables: ReportTables, seconds_per_step: Mapping[str, float], equal_seconds: float
) -> list[Curve]:
    curves = []
    for noise_prior in tables.config.noise_priors:
        for method in tables.config.methods:
            errors = {
                steps: tables.of("path_error", method, noise_prior, steps)
                for steps in (0, *tables.config.steps)
            }
            seconds = seconds_per_step[method]
            curves.append(
                Curve(
                    method,
                    noise_prior,
                    {steps: crossed_interval(values) for steps, values in errors.items()},
                    seconds,
                    crossed_interval(error_at_seconds(errors, seconds, equal_seconds)),
                )
            )
    return curves


def _ablations(rows: Sequence[Row], config: ComparisonConfig) -> list[Ablation]:
    motions, num_prompts = config.tuning.motions, len(config.prompts)
    kinds: dict[tuple[str, tuple[str, ...], float], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.method, row.variant, row.noise_prior), []).append(row)
    # The first variant of feature matching is the unchanged one.
    unchanged = next(v for m, v, _ in kinds if m == FEATURE_MATCHING)
    ablations = []
    for (method, variant, noise_prior), found in kinds.items():
        tables = {figure: table(found, figure, motions, num_prompts) for figure in COMPARED}
        compared = kinds[FEATURE_MATCHING, unchanged, noise_prior]
        unchanged_errors = table(compared, "path_error", motions, num_prompts)
        is_changed = (method, variant) != (FEATURE_MATCHING, unchanged)
        ablations.append(
            Ablation(
                method,
                variant[len(unchanged) :],
                noise_prior,
                {figure: crossed_interval(errors) for figure, errors in tables.items()},
                crossed_interval(tables["path_error"] - unchanged_errors) if is_changed else None,
            )
        )
    return ablations
