"""What the comparison says, as plain data."""

from dataclasses import dataclass

from evaluation.intervals import Interval
from experiments.comparison.methods import title
from experiments.comparison.statistics import Choice, Verdict

COMPARED = ("path_error", "centred_error", "correlation", "leakage", "leakage_with_object")
COMPARED_AT_EQUAL_SECONDS = ("path_error", "leakage", "leakage_with_object")


@dataclass(frozen=True)
class Arm:
    """A method as it was chosen and is sampled.

    Attributes:
        method: Of `methods`.
        noise_prior: Share of the reference's inversion noise.
        learning_rate: As chosen; None for the base.
        steps: As chosen; 0 for the base.
        seconds: Training on one core; 0 for the base, NaN where all trainings diverged.
        metrics: Mean and interval of each of `measurement.METRICS`.
        num_videos: Of how many videos each of them is.
        by_motion: Path error of each motion, in pixels.
    """

    method: str
    noise_prior: float
    learning_rate: float | None
    steps: int
    seconds: float
    metrics: dict[str, Interval]
    num_videos: dict[str, int]
    by_motion: dict[str, float]

    @property
    def title(self) -> str:
        """Its name in tables."""
        return title(self.method, self.noise_prior)


@dataclass(frozen=True)
class Difference:
    """Feature matching less another method, on the same motions and prompts.

    Attributes:
        noise_prior: Feature matching's.
        other: Name of the other in tables.
        metrics: Metric -> paired difference.
    """

    noise_prior: float
    other: str
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Curve:
    """Path error over training, at the chosen learning rate.

    Attributes:
        method: Of `methods`.
        noise_prior: Share of the reference's inversion noise.
        steps: Training steps -> path error; that of 0 steps is the base's.
        seconds_per_step: Of training on one core; NaN where all trainings diverged.
        at_equal_seconds: Path error after the seconds that all methods have in common.
    """

    method: str
    noise_prior: float
    steps: dict[int, Interval]
    seconds_per_step: float
    at_equal_seconds: Interval


@dataclass(frozen=True)
class Ablation:
    """A variant of feature matching on the tuning motions.

    Attributes:
        method: `FEATURE_MATCHING`, or `BASE` without training.
        variant: What it changes; empty for nothing.
        noise_prior: Share of the reference's inversion noise.
        metrics: Mean and interval of each of `COMPARED`.
        difference: Its path error less that of the unchanged settings with the same noise prior.
    """

    method: str
    variant: tuple[str, ...]
    noise_prior: float
    metrics: dict[str, Interval]
    difference: Interval | None


@dataclass(frozen=True)
class Outcome:
    """Everything that RESULTS.md says.

    Attributes:
        grid: Method -> (learning rate, steps) -> mean path error on the tuning motions.
        resting_grid_error: Mean path error of the resting object on them.
        choices: Method -> what the tuning chose.
        arms: The base and all methods, for each noise prior.
        resting: The object that rests in the middle of the frame, for comparison.
        differences: Of feature matching from the others: each of `COMPARED`.
        curves: Of all trained methods, for each noise prior.
        equal_seconds: Where `Curve.at_equal_seconds` is read.
        differences_at_equal_seconds: Of feature matching from the pixel losses, each after that time
            of training: each of `COMPARED_AT_EQUAL_SECONDS`.
        verdicts: The parts of the claim.
        resting_verdicts: Beside the claim: whether feature matching is nearer than the resting object.
        ablations: On the tuning motions.
        missing_ablations: Cells of the ablations that could not be made.
    """

    grid: dict[str, dict[tuple[float, int], float]]
    resting_grid_error: float
    choices: dict[str, Choice]
    arms: list[Arm]
    resting: Arm
    differences: list[Difference]
    curves: list[Curve]
    equal_seconds: float
    differences_at_equal_seconds: list[Difference]
    verdicts: list[Verdict]
    resting_verdicts: list[Verdict]
    ablations: list[Ablation]
    missing_ablations: list[str]

    @property
    def claim_holds(self) -> bool:
        """Whether all parts of the claim hold."""
        return all(verdict.holds for verdict in self.verdicts)
