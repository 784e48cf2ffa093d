"""The rule by which a setting is chosen; docs/choosing.md has it in words. Pure functions."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import (
    CENTRED_DISCREPANCY,
    COLOURS_TAKEN_OVER,
    LOOKS_TAKEN_OVER,
    MOTION_DISCREPANCY,
    OBJECT_DISCREPANCY,
    VISIBLE_DISCREPANCY,
    Metric,
)
from experiments.choose.trials import Trial
from motionmatcher.runs.choice import Choice

# Of these, the first that the clip's controls bear out says how near a motion is; all are lower for nearer.
MOTION_METRICS = (
    MOTION_DISCREPANCY,
    VISIBLE_DISCREPANCY,
    OBJECT_DISCREPANCY,
    CENTRED_DISCREPANCY,
)
MAX_TAKEN_OVER = 0.1  # share of the way to the reference's looks; beyond that a setting leaks


@dataclass(frozen=True)
class Decision:
    """What was tried, and what was chosen of it.

    Attributes:
        trials: All settings.
        base: The base model's own videos.
        motion: The metric that motion was judged by; None where the controls bear none out.
        looks: The metric that leaks were judged by.
        chosen: The setting; None where there is no metric to judge by.
        line: The outcome in one line.
    """

    trials: Sequence[Trial]
    base: Trial
    motion: Metric | None
    looks: Metric
    chosen: Choice | None
    line: str

    @property
    def shown_motion(self) -> Metric:
        """The metric to show motion by, where none can be trusted the first."""
        return self.motion or MOTION_METRICS[0]


def decide(trials: Sequence[Trial], base: Trial, doubted: Collection[str]) -> Decision:
    """Choose a setting.

    Args:
        trials: Those to choose from, with the same prompts and seeds.
        base: The base model's own videos of them.
        doubted: Names of the metrics that are not to be trusted on the clip.

    Returns:
        The decision.
    """
    has_clip = any(
        video.values.get(LOOKS_TAKEN_OVER.name) is not None for video in trials[0].videos
    )
    looks = LOOKS_TAKEN_OVER if has_clip else COLOURS_TAKEN_OVER
    motion = next((metric for metric in MOTION_METRICS if metric.name not in doubted), None)
    if motion is None:
        line = (
            "No setting is recommended: on this clip no motion metric tells a wrong motion from the right "
            "one. Look at the videos, and give --checkpoint_index and --noise_prior."
        )
        return Decision(trials, base, None, looks, None, line)
    distances = motion_distances([*trials, base], motion)
    of_base = distances.pop()
    clean = [trial for trial in trials if not leaks(trial, looks)]
    # Ties go to the earlier checkpoint, then to the lower noise prior.
    best = min(
        clean or trials,
        key=lambda trial: (
            (distances[trials.index(trial)], trial.setting)
            if clean
            else (trial.mean(looks), trial.setting)
        ),
    )
    distance = distances[trials.index(best)]
    line = (
        f"Recommended: {best.setting} ({motion.label.lower()} {motion.format(distance)}, the base's "
        f"{motion.format(of_base)}; {looks.label.lower()} {looks.format(best.mean(looks))})."
    )
    if not clean:
        line += f" Every setting leaks (over {MAX_TAKEN_OVER:g}); this one does least."
    if distance >= of_base:
        line += " It moves no nearer to the reference than the base does: train on."
    return Decision(trials, base, motion, looks, best.setting, line)


def motion_distances(trials: Sequence[Trial], motion: Metric) -> list[float]:
    """Average each trial's distance from the reference's motion.

    A video that nothing can be followed in has no value; it counts as the farthest of all, for else a
    setting would win by losing its objects.
    """
    table = np.array([trial.values(motion) for trial in trials])  # (trials, videos)
    farthest = np.nanmax(table) if np.isfinite(table).any() else math.inf
    means: list[float] = np.where(np.isnan(table), farthest, table).mean(axis=1).tolist()
    return means


def leaks(trial: Trial, looks: Metric) -> bool:
    """Tell whether a setting's videos took over too much of the reference's looks."""
    mean = trial.mean(looks)
    return math.isfinite(mean) and mean > MAX_TAKEN_OVER
