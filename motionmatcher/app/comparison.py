"""The videos of a generation, beside the base's and the reference, and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionmatcher.app.commands import BASE, REFERENCE, SCORES, TRAINED
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.video import fit_frames, read_clip, write_mp4
from motionmatcher.errors import UserError
from motionmatcher.runs.manifest import read_manifest
from motionmatcher.runs.run_folder import Run
from motionmatcher.text_files import read_json

DISCREPANCY = "motion_discrepancy"


@dataclass(frozen=True)
class Video:
    """A generated video.

    Attributes:
        path: The file.
        prompt: What it was made from.
        seed: Likewise.
    """

    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class MetricRow:
    """A metric of both folders.

    Attributes:
        label: Its name for people.
        better: "lower" or "higher": which is nearer to the reference.
        base: Mean of the base's videos; None where it is not defined.
        trained: Mean of the trained model's.
        doubt: Why it is not to be trusted on this clip; None where it is, or nobody can tell.
    """

    label: str
    better: str
    base: float | None
    trained: float | None
    doubt: str | None


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        rows: A metric each.
        of_videos: The motion discrepancy of each video by its folder and file names.
        trusted: Whether the motion discrepancy tells motions apart on this clip.
    """

    rows: list[MetricRow]
    of_videos: Mapping[tuple[str, str], float | None]
    trusted: bool


def read_videos(folder: Path) -> list[Video]:
    """List the videos that inference.py put into a folder, without those that are gone."""
    videos = (
        Video(folder / entry["file"], entry["prompt"], entry["seed"])
        for entry in read_manifest(folder)
    )
    return [video for video in videos if video.path.is_file()]


def newest_generation(folder: Path) -> Path | None:
    """Find the last generation in a run's folder of videos; None before the first video."""
    made = [path for path in folder.glob("*") if read_manifest(path / TRAINED)]
    return max(made, key=lambda path: path.stat().st_ctime, default=None)


def write_reference(run: Run, folder: Path) -> None:
    """Write the reference, of several clips the first, as training read it, to be shown beside videos.

    Raises:
        UserError: The clip is gone, or the run does not say which it was.
    """
    settings = run.settings()
    if settings is None:
        raise UserError(f"{run.folder} does not say which clip it was trained on.")
    data = settings.train_data.first
    frames = read_clip(
        run.find_path(data.single_video_path), FrameChoice.of(data), data.n_sample_frames
    )
    pixels = fit_frames(frames, data.width, data.height)
    write_mp4(folder / REFERENCE, pixels.permute(0, 2, 3, 1).numpy(), data.fps)


def read_scores(folder: Path) -> Scores | None:
    """Read the scores of a generation's comparison; None before there are any."""
    file = folder / SCORES
    if not file.is_file():
        return None
    content: dict[str, Any] = read_json(file)
    trained, base = content["folders"]  # in the order of the command
    rows = [
        MetricRow(
            metric["label"],
            metric["better"],
            base["mean"][name]["mean"],
            trained["mean"][name]["mean"],
            metric["doubt"],
        )
        for name, metric in content["metrics"].items()
    ]
    of_videos = {
        (side, video["file"]): video["scores"][DISCREPANCY]
        for side, scored in ((TRAINED, trained), (BASE, base))
        for video in scored["videos"]
    }
    return Scores(rows, of_videos, content["metrics"][DISCREPANCY]["trusted"] is not False)
