"""Everything that the comparison says, from the rows of `cells.csv` alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import (
    Interval,
    crossed_interval,
    crossed_statistic,
    is_above_zero,
    is_below_zero,
    signed,
)
from experiments.compare.cells import Choice, choice_of
from experiments.compare.curves import area_left_of, leakage_at_equal_error
from experiments.compare.methods import BASE, CLAIMED, GATED, OPEN, PIXEL_METHODS, RESTING, title
from experiments.compare.rows import SEPARATOR, Row
from testbed.measurement import mean_of_defined

Array = NDArray[np.float64]

DECIDE = "decide "  # begins the stages of decisions
TUNING, REPORT = "tuning", "report"
EQUAL_MOTION_MARGIN = 0.10  # of the base's path error


class Tables:
    """Averages over seeds and samples, as tables (motions, prompts) of the same motions and prompts."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.motions: list[str] = _distinct(row.motion for row in rows)
        self.num_prompts = 1 + max(row.prompt for row in rows)

    def table(self, metric: str, rows: Sequence[Row]) -> Array:
        """Average one of `METRICS`; NaN where it does not apply."""
        values: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            values.setdefault((row.motion, row.prompt), []).append(row.metrics[metric])
        columns = range(self.num_prompts)
        table = [[mean_of_defined(values[m, p]) for p in columns] for m in self.motions]
        return np.asarray(table, np.float64)


@dataclass(frozen=True)
class Option:
    """One option of a decision: what it and those before change (`key=value` each), and how it did."""

    changes: tuple[str, ...]
    error: Interval
    leakage: Interval
    more_leakage: Interval  # than the base's, paired

    @property
    def allowed(self) -> bool:
        """Whether it is not shown to leak more than the base."""
        return not is_above_zero(self.more_leakage)


@dataclass(frozen=True)
class Decision:
    """A decision among settings of feature matching."""

    name: str
    options: list[Option]

    @property
    def chosen(self) -> Option:
        """By the rule: the lowest path error of those allowed; the first option when none is."""
        allowed = [option for option in self.options if option.allowed] or self.options[:1]
        return min(allowed, key=lambda option: mean_of(option.error))


def decisions(rows: Sequence[Row]) -> list[Decision]:
    """Compare the options of each decision on the tuning motions, all sampled without noise prior."""
    found = []
    for stage in _distinct(row.stage for row in rows if row.stage.startswith(DECIDE)):
        of_stage = [row for row in rows if row.stage == stage]
        seeds = {row.seed for row in of_stage}
        base = [row for row in _base_rows(rows) if row.seed in seeds]  # with the same start noises
        tables = Tables([*of_stage, *base])
        options = []
        for changes in _distinct(row.changes for row in of_stage):
            own = [row for row in of_stage if row.changes == changes]
            leakage = tables.table("leakage", own)
            options.append(
                Option(
                    tuple(changes.split(SEPARATOR)) if changes else (),
                    crossed_interval(tables.table("path_error", own)),
                    crossed_interval(leakage),
                    crossed_interval(leakage - tables.table("leakage", base)),
                )
            )
        found.append(Decision(stage.removeprefix(DECIDE), options))
    return found


def _base_rows(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (row.stage, row.method, row.noise_prior) == (TUNING, BASE, 0)]


@dataclass(frozen=True)
class Tuned:
    """The tuning of a method in a regime.

    Attributes:
        method: Of `methods`.
        regime: Of `REGIMES`.
        errors: (learning rate, steps) -> mean path error over tuning motions and prompts.
        margin: Path error that counts as none beside the lowest one.
    """

    method: str
    regime: str
    errors: dict[tuple[float, int], float]
    margin: float

    @property
    def choice(self) -> Choice:
        """By the rule: the fewest steps that come near the lowest path error, at their best rate."""
        enough = min(self.errors.values()) + self.margin
        near = [(key[1], error, key[0]) for key, error in self.errors.items() if error <= enough]
        steps, _, rate = min(near)
        return Choice(rate, steps)

    @property
    def edges(self) -> list[str]:
        """Where the choice lies at the edge of the grid, beyond which something better may lie."""
        rates, steps = (sorted(set(values)) for values in zip(*self.errors, strict=True))
        edges = {
            "lowest learning rate": self.choice.learning_rate == rates[0],
            "highest learning rate": self.choice.learning_rate == rates[-1],
            "fewest steps": self.choice.steps == steps[0],
            "most steps": self.choice.steps == steps[-1],
        }
        return [name for name, reached in edges.items() if reached]


def tune(rows: Sequence[Row]) -> list[Tuned]:
    """Sum up the grids of all methods and regimes."""
    errors: dict[tuple[str, str], dict[tuple[float, int], list[float]]] = {}
    for row in rows:
        if row.stage == TUNING and row.regime:
            grid = errors.setdefault((row.method, row.regime), {})
            grid.setdefault((row.learning_rate, row.step), []).append(row.metrics["path_error"])
    of_base = [row.metrics["path_error"] for row in _base_rows(rows)]
    margin = EQUAL_MOTION_MARGIN * float(np.mean(of_base or [0.0]))
    return [
        Tuned(method, regime, {key: float(np.mean(values)) for key, values in grid.items()}, margin)
        for (method, regime), grid in errors.items()
    ]


@dataclass(frozen=True)
class Arm:
    """A method as it is trained and sampled.

    Attributes:
        method: Of `methods`.
        regime: Of `REGIMES`; empty for base and resting object, which no training changes.
        caption: Of `CAPTIONS`, likewise.
        step: Training steps.
        noise_prior: Share of the reference's inversion noise.
    """

    method: str
    regime: str = ""
    caption: str = ""
    step: int = 0
    noise_prior: float = 0.0

    @property
    def title(self) -> str:
        """Its name in tables."""
        return title(self.method, self.noise_prior)


@dataclass(frozen=True)
class Part:
    """One part of the claim, and whether the metrics bear it out."""

    letter: str
    condition: tuple[str, str]
    claim: str
    evidence: str
    holds: bool


class Report:
    """Looks up and compares the videos of the report; a condition is a regime and a kind of caption."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Sort all rows of a comparison."""
        self._choices = {(tuned.method, tuned.regime): tuned.choice for tuned in tune(rows)}
        report = [row for row in rows if row.stage == REPORT]
        self._tables = Tables(report)
        self._videos: dict[Arm, list[Row]] = {}
        for row in report:
            arm = Arm(row.method, row.regime, row.caption, row.step, row.noise_prior)
            self._videos.setdefault(arm, []).append(row)
        self.motions = self._tables.motions
        self.priors = sorted({arm.noise_prior for arm in self._videos})
        self.conditions: list[tuple[str, str]] = _distinct(
            (arm.regime, arm.caption) for arm in self._videos if arm.regime
        )

    def methods(self, condition: tuple[str, str]) -> list[str]:
        """List the trained methods that meet under a condition."""
        arms = self._videos
        return _distinct(arm.method for arm in arms if (arm.regime, arm.caption) == condition)

    def arm(self, condition: tuple[str, str], method: str, noise_prior: float = 0.0) -> Arm:
        """Give a method with the steps that were chosen for it."""
        if method in (BASE, RESTING):
            return Arm(method, noise_prior=noise_prior)
        choice = choice_of(self._choices, method, condition[0])
        return Arm(method, *condition, choice.steps, noise_prior)

    def videos(self, arm: Arm) -> list[Row]:
        """List the videos of an arm."""
        return self._videos[arm]

    def table(self, metric: str, arm: Arm) -> Array:
        """Average a metric for each motion and prompt."""
        return self._tables.table(metric, self._videos[arm])

    def interval(self, metric: str, arm: Arm, less: Arm | None = None) -> Interval:
        """Average a metric of an arm, or its paired difference from another one's."""
        values = self.table(metric, arm)
        return crossed_interval(values if less is None else values - self.table(metric, less))

    def curve(self, condition: tuple[str, str], method: str) -> list[Arm]:
        """List a method over its training, without noise prior; the base comes first."""
        steps = sorted(
            arm.step
            for arm in self._videos
            if (arm.method, arm.regime, arm.caption, arm.noise_prior) == (method, *condition, 0.0)
        )
        return [Arm(BASE), *(Arm(method, *condition, step) for step in steps)]

    def areas(self, condition: tuple[str, str]) -> dict[str, Interval]:
        """Measure the area left of each method's curve of path error against leakage.

        It reaches from the base's path error down to the lowest that all methods come to, in pixels.
        """
        methods = self.methods(condition)
        curves = [self.curve(condition, method) for method in methods]
        tables = [table for curve in curves for table in self._curve_tables(curve)]
        splits = np.cumsum([2 * len(curve) for curve in curves])[:-1]

        def area(means: Array, index: int) -> Array:
            found = [_as_curves(part) for part in np.split(means, splits, axis=1)]
            lowest = np.max([curve[:, 0].min(axis=1) for curve in found], axis=0)
            return area_left_of(found[index], lowest)

        return {
            method: crossed_statistic(tables, partial(area, index=index))
            for index, method in enumerate(methods)
        }

    def compared(self, condition: tuple[str, str]) -> list[tuple[Arm, Arm]]:
        """Pair what the claim is of with each other arm that it is compared with."""
        methods = self.methods(condition)
        return [
            (self.arm(condition, method, prior), self.arm(condition, other, other_prior))
            for method in CLAIMED
            if method in methods
            for prior in self.priors
            for other, other_prior in [
                *((BASE, each) for each in self.priors),
                *((each, prior) for each in PIXEL_METHODS if each in methods),
            ]
        ]

    def parts(self) -> list[Part]:
        """Decide every part of the claim, by the rules of docs/comparison.md."""
        found = []
        for condition in self.conditions:
            for own, other in self.compared(condition):
                if other.method == BASE:
                    found.append(self._moves_better(condition, own, other))
                elif own.regime == GATED:
                    found.append(self._moves_no_worse(condition, own, other))
                elif own.regime == OPEN and own.noise_prior == 0:
                    found.append(self._leaks_less(condition, own.method, other.method))
        return sorted(found, key=lambda part: part.letter)

    def _moves_better(self, condition: tuple[str, str], own: Arm, other: Arm) -> Part:
        error, correlation = (
            self.interval(metric, own, less=other) for metric in ("path_error", "correlation")
        )
        holds = is_below_zero(error) and is_above_zero(correlation)
        evidence = f"path error {signed(error, 2)} px, correlation {signed(correlation, 2)}"
        claim = f"{own.title} moves better than {other.title}"
        return Part("a", condition, claim, evidence, holds)

    def _moves_no_worse(self, condition: tuple[str, str], own: Arm, other: Arm) -> Part:
        error = self.interval("path_error", own, less=other)
        margin = EQUAL_MOTION_MARGIN * mean_of(self.interval("path_error", Arm(BASE)))
        holds = error.high is not None and error.high <= margin
        evidence = f"path error {signed(error, 2)} px, margin +{margin:.2f} px"
        claim = f"{own.title} moves no worse than {other.title}"
        return Part("c", condition, claim, evidence, holds)

    def _leaks_less(self, condition: tuple[str, str], method: str, other: str) -> Part:
        """Compare leakage where both trainings have first come to the same path error."""
        own_curve, other_curve = (self.curve(condition, each) for each in (method, other))
        tables = [*self._curve_tables(own_curve), *self._curve_tables(other_curve)]

        def difference(means: Array) -> Array:
            own, others = np.split(means, [2 * len(own_curve)], axis=1)
            return leakage_at_equal_error(_as_curves(own), _as_curves(others))

        found = crossed_statistic(tables, difference)
        claim = f"{title(method)} leaks less than {title(other)} at equal path error"
        return Part("b", condition, claim, f"leakage {signed(found, 3)}", is_below_zero(found))

    def _curve_tables(self, curve: Sequence[Arm]) -> list[Array]:
        return [self.table(metric, arm) for metric in ("path_error", "leakage") for arm in curve]


def mean_of(interval: Interval) -> float:
    """The mean, infinite where there is none."""
    return float("inf") if interval.mean is None else interval.mean


def _as_curves(means: Array) -> Array:
    """(N, 2 S) means of path errors, then of leakages, as (N, 2, S)."""
    return means.reshape(len(means), 2, -1)


def _distinct(values: Iterable) -> list:
    return list(dict.fromkeys(values))
