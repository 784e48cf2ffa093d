"""Score folders of videos, whatever the metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from tqdm import tqdm

from evaluation.folders import OutputFolder, OutputVideo, UnreadableVideo
from evaluation.intervals import Interval, bootstrap_interval
from motionmatcher.clips.video import Frames, read_video
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from evaluation.motion_scorer import MotionAnalysis

Setting = str | int | float


@dataclass(frozen=True)
class Metric:
    """What a column of figures is.

    Attributes:
        name: Its key in JSON and CSV.
        label: Its name for people.
        better: Which way is better.
        description: One sentence for the report.
        digits: Decimals worth printing.
    """

    name: str
    label: str
    better: Literal["higher", "lower"]
    description: str
    digits: int = 4


@dataclass(frozen=True)
class VideoScores:
    """One scorer's result for one video.

    Attributes:
        values: By metric name; NaN where the metric is not defined for this video.
        notes: What was done to the video to make it comparable.
        motion: What the motion scorer found, for drawing; None from the others.
    """

    values: Mapping[str, float]
    notes: tuple[str, ...] = ()
    motion: "MotionAnalysis | None" = None


class Scorer(Protocol):
    """A model and the metrics computed with it."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """What it computes."""
        ...

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What its figures depend on."""
        ...

    def score(self, frames: Frames, prompt: str | None) -> VideoScores:
        """Score one video, uint8 (F, H, W, 3)."""
        ...


@dataclass(frozen=True)
class ScoredVideo:
    """A video and its scores by all scorers."""

    video: OutputVideo
    scores: VideoScores


@dataclass(frozen=True)
class ScoredFolder:
    """A folder's scores.

    Attributes:
        folder: What was scored.
        videos: One entry per video that could be read.
        is_baseline: Whether these are the base model's own videos, given for comparison.
    """

    folder: OutputFolder
    videos: tuple[ScoredVideo, ...]
    is_baseline: bool = False

    @property
    def name(self) -> str:
        """The folder as the user wrote it."""
        return str(self.folder.path)

    def interval(self, metric: Metric) -> Interval:
        """Average a metric over the folder's videos."""
        return bootstrap_interval([video.scores.values[metric.name] for video in self.videos])


def score_folder(
    folder: OutputFolder, scorers: Sequence[Scorer], is_baseline: bool = False
) -> ScoredFolder:
    """Score every video of a folder, printing a line for each.

    Args:
        folder: An opened folder.
        scorers: All of them see each video; it is decoded once.
        is_baseline: Recorded with the result.

    Returns:
        The scores.
    """
    scored, unreadable = [], list(folder.unreadable)
    labels = {metric.name: metric for scorer in scorers for metric in scorer.metrics}
    progress = tqdm(folder.videos, desc=str(folder.path), unit="video", leave=False)
    for video in progress:
        try:
            frames, _ = read_video(video.path)
        except UserError as error:  # it could be read when the folder was opened
            unreadable.append(UnreadableVideo(video.path, str(error)))
            continue
        scores = merge_scores(
            [
                VideoScores({}, video.notes),
                *(scorer.score(frames, video.prompt) for scorer in scorers),
            ]
        )
        scored.append(ScoredVideo(video, scores))
        progress.write(_video_line(video, scores, labels))
    folder = replace(
        folder,
        videos=tuple(video.video for video in scored),
        unreadable=tuple(unreadable),
    )
    return ScoredFolder(folder, tuple(scored), is_baseline)


def merge_scores(scores: Sequence[VideoScores]) -> VideoScores:
    """Put the results of several scorers for one video together."""
    values = {name: value for score in scores for name, value in score.values.items()}
    notes = tuple(note for score in scores for note in score.notes)
    motion = next((score.motion for score in scores if score.motion is not None), None)
    return VideoScores(values, notes, motion)


def _video_line(video: OutputVideo, scores: VideoScores, metrics: Mapping[str, Metric]) -> str:
    figures = "  ".join(
        f"{metric.label} {scores.values[name]:.{metric.digits}f}"
        for name, metric in metrics.items()
    )
    notes = f"  ({'; '.join(scores.notes)})" if scores.notes else ""
    return f"{video.path.name}  {figures}{notes}"
