"""What was tried: settings and their videos with scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.intervals import Interval, bootstrap_interval
from evaluation.metrics import Metric
from motionmatcher.runs.choice import Choice

BASE = Choice(0, 0.0, 0.0)  # the base model's own videos: no LoRA, no noise of the reference


@dataclass(frozen=True)
class ChoiceVideo:
    """A video of a setting, and its scores.

    Attributes:
        path: The file.
        prompt: What it shows.
        seed: Of its start noise.
        values: By metric name; None where a metric is not defined for it.
    """

    path: Path
    prompt: str
    seed: int
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    Attributes:
        setting: The checkpoint, noise prior and LoRA scale; `BASE` for the base model alone.
        videos: Its videos with their scores, in the order of prompts and seeds.
    """

    setting: Choice
    videos: Sequence[ChoiceVideo]

    def values(self, metric: Metric) -> list[float]:
        """List a metric of all videos, NaN where it is not defined."""
        values = (video.values[metric.name] for video in self.videos)
        return [math.nan if value is None else value for value in values]

    def interval(self, metric: Metric) -> Interval:
        """Average a metric over the videos for which it is defined."""
        return bootstrap_interval(self.values(metric))

    def mean(self, metric: Metric) -> float:
        """Its mean; NaN where no video has it."""
        mean = self.interval(metric).mean
        return math.nan if mean is None else mean
