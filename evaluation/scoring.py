"""Score folders of videos, whatever the metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

from evaluation.folders import OutputFolder, OutputVideo, UnreadableVideo
from evaluation.intervals import Interval, bootstrap_interval
from evaluation.metrics import Metric
from evaluation.names import short_names
from motionmatcher.clips.clip_file import Frames
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from motionmatcher.tracking.camera import MotionAnalysis

Setting = str | int | float
SOME_UNREADABLE = 1


# Called with each video that is scored and its frames, uint8 (F, H, W, 3), while they are decoded.
OnVideo = Callable[[OutputVideo, Frames], None]


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
        """What its scores depend on."""
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


@dataclass(frozen=True)
class Scores:
    """All that was measured at one time.

    Attributes:
        metrics: The columns.
        settings: What the values depend on: models, tracker, sizes.
        folders: The folders scored.
        controls: Values of the reference's controls by control name; empty without them.
        doubts: Why a metric is not to be trusted on this clip, by metric name (`controls.doubts`).
        left_out: What was not measured, and why.
    """

    metrics: Sequence[Metric]
    settings: Mapping[str, Setting]
    folders: Sequence[ScoredFolder]
    controls: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The folders' names in tables: what differs between their paths."""
        return [
            f"{name} (base model)" if folder.is_baseline else name
            for name, folder in zip(
                short_names([folder.folder.path for folder in self.folders]),
                self.folders,
                strict=True,
            )
        ]

    def is_trusted(self, metric: Metric) -> bool | None:
        """Tell whether the controls bear a metric out on this clip; None of one without controls."""
        if not any(metric.name in values for values in self.controls.values()):
            return None
        return metric.name not in self.doubts

    @property
    def exit_code(self) -> int:
        """0, or 1 when a video could not be scored."""
        return SOME_UNREADABLE if any(item.folder.unreadable for item in self.folders) else 0


def score_folder(
    folder: OutputFolder,
    scorers: Sequence[Scorer],
    is_baseline: bool = False,
    quiet: bool = False,
    on_video: OnVideo | None = None,
) -> ScoredFolder:
    """Score every video of a folder, printing a line for each.

    Args:
        folder: An opened folder.
        scorers: All of them see each video; it is decoded once.
        is_baseline: Recorded with the result.
        quiet: Print nothing, not even a progress bar.
        on_video: See `OnVideo`.
    """
    scored, unreadable = [], list(folder.unreadable)
    labels = {metric.name: metric for scorer in scorers for metric in scorer.metrics}
    progress = tqdm(folder.videos, desc=str(folder.path), unit="video", leave=False, disable=quiet)
    for video in progress:
        try:
            frames = video.read()
        except UserError as error:  # it could be read when the folder was opened
            unreadable.append(UnreadableVideo(video.path, str(error)))
            continue
        if on_video is not None:
            on_video(video, frames)
        scores = merge_scores(
            [
                VideoScores({}, video.notes),
                *(scorer.score(frames, video.prompt) for scorer in scorers),
            ]
        )
        scored.append(ScoredVideo(video, scores))
        if not quiet:
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
    values = "  ".join(
        f"{metric.label} {scores.values[name]:.{metric.digits}f}"
        for name, metric in metrics.items()
    )
    notes = f"  ({'; '.join(scores.notes)})" if scores.notes else ""
    return f"{video.path.name}  {values}{notes}"
