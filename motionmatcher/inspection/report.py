"""A report on a reference clip, for the frames that training would read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from motionmatcher.clips.clip_file import ClipFile, Frames
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.video import bucket_size
from motionmatcher.config.settings import TrainData, TrainSettings
from motionmatcher.inspection.bars import BarFinder, Bars
from motionmatcher.inspection.notes import crop_notes, rate_notes, window_notes
from motionmatcher.inspection.steps import View, measure_steps
from motionmatcher.inspection.windows import Survey, Window, find_candidates, is_better, rank
from motionmatcher.paths import find_path

# Frames of a long clip that are looked through at a time, a minute at 25 fps: each takes some hundredths of a
# second, and each of their windows is tried.
MAX_SURVEYED = 1500


@dataclass(frozen=True)
class ClipReport:
    """What a reference clip is like.

    Attributes:
        path: The clip.
        num_frames: Frames shown; of a clip whose rate varies, those taken at even steps.
        fps: Frames per second.
        varies: Whether the file's own rate varies.
        width: Pixels as shown.
        height: Likewise.
        turn: How players turn what is stored, in words; empty for not at all.
        pixel_aspect: Width of a stored pixel per height.
        window: The frames that training reads, and what moves in them.
        moving: Share of the picture that moves on its own, on average.
        bars: Black bars in what training sees.
        notes: What to know or to do, one line each.
        candidates: Windows to read instead, the best first; empty unless asked for.
        overrides: The settings that choose the first of them, where it is better; else empty.
    """

    path: str
    num_frames: int
    fps: float
    varies: bool
    width: int
    height: int
    turn: str
    pixel_aspect: float
    window: Window
    moving: float
    bars: Bars
    notes: list[str]
    candidates: tuple[Window, ...] = ()
    overrides: tuple[str, ...] = ()


def inspect_clip(
    path: Path | str,
    settings: TrainSettings | TrainData | None = None,
    *,
    suggest: bool = False,
    quiet: bool = False,
) -> ClipReport:
    """Report on a clip, for the frames that training would read.

    Args:
        path: The clip; the settings' own does not count.
        settings: Choose the frames and their size, those of several clips that have one for this file; None
            for the defaults, and all frames of the clip, or the first `MAX_SURVEYED` of a longer one.
        suggest: Look through the clip, as far as `MAX_SURVEYED`, for frames that are better to train on.
        quiet: Show no progress.

    Raises:
        UserError: The clip cannot be read, or is too short for the settings.
    """
    place = "train_data"
    if settings is None:
        data = TrainData(single_video_path=str(path), single_video_prompt="")
    else:
        data = settings.train_data if isinstance(settings, TrainSettings) else settings
        data, place = _data_of(path, data)
    data = replace(data, single_video_path=str(path), clips=[])
    choice = FrameChoice.of(data)
    clip = ClipFile(path, choice.grid_fps)
    frames: Sequence[int] = range(min(len(clip), MAX_SURVEYED))
    if settings is not None:
        frames = choice.indices(path, len(clip), clip.timeline.fps, data.n_sample_frames)
    survey, bars = _survey(clip, data, frames[0], frames[-1] + 1, quiet)
    report = _report(clip, data, place, frames, survey, bars)
    if settings is None and len(clip) > MAX_SURVEYED:
        note = (
            f"{path}: only its first {MAX_SURVEYED} of {len(clip)} frames are looked at: --config FILE looks "
            "at those that training reads, wherever they are."
        )
        report = replace(report, notes=[*report.notes, note])
    return _with_candidates(report, clip, data, place, survey, quiet) if suggest else report


def _data_of(path: Path | str, data: TrainData) -> tuple[TrainData, str]:
    """Find what settings say of a clip, and where they do: where it is one of several, in its entry."""
    wanted = Path(path).resolve()
    for clip, place in zip(data.each, data.places, strict=True):
        if Path(find_path(clip.single_video_path)).resolve() == wanted:
            return clip, place
    return data, "train_data"


def examine(clip: ClipFile, data: TrainData, place: str, frames: Sequence[int]) -> ClipReport:
    """Report on some frames of a clip; nothing else of it is looked at.

    Args:
        clip: The clip.
        data: What training reads of it.
        place: Where the settings say that, see `TrainData.places`.
        frames: Indices of the frames, ascending.
    """
    survey, bars = _survey(clip, data, frames[0], frames[-1] + 1, quiet=False)
    return _report(clip, data, place, frames, survey, bars)


def _report(
    clip: ClipFile, data: TrainData, place: str, frames: Sequence[int], survey: Survey, bars: Bars
) -> ClipReport:
    window = survey.window(frames)
    of_window = window_notes(data, window, bars, place)
    notes = [*rate_notes(clip, data), *crop_notes(clip, data), *of_window]
    return ClipReport(
        path=data.single_video_path,
        num_frames=len(clip),
        fps=clip.timeline.fps,
        varies=clip.timeline.note is not None,
        width=clip.width,
        height=clip.height,
        turn=clip.shape.turn,
        pixel_aspect=float(clip.shape.pixel_aspect),
        window=window,
        moving=survey.moving,
        bars=bars,
        notes=notes,
    )


def _with_candidates(
    report: ClipReport, clip: ClipFile, data: TrainData, place: str, survey: Survey, quiet: bool
) -> ClipReport:
    """Look through a clip for frames that are better to train on.

    Args:
        report: On the frames that training reads.
        clip: The clip.
        data: What training reads of it.
        place: Where the settings say that.
        survey: Of the report's frames.
        quiet: Show no progress.
    """
    choice, fps = FrameChoice.of(data), clip.timeline.fps
    if report.varies and choice.by_time:
        note = (
            f"{report.path}: its rate varies, and frames of such clips are suggested by index: leave out "
            "start_s and duration_s for that."
        )
        return replace(report, notes=[*report.notes, note])
    # Another step would be another grid of a clip whose rate varies.
    steps = [data.frame_step] if report.varies else None
    natural_step = steps[0] if steps else max(round(fps / data.fps), 1)
    span = min(len(clip), MAX_SURVEYED)
    first = min(report.window.frames[0], len(clip) - span)
    if span < len(clip):
        start = "start_s" if choice.by_time else "sample_start_idx"
        note = (
            f"{report.path}: better frames are looked for among the frames {first} to {first + span - 1} of "
            f"{len(clip)} alone: move that by {place}.{start}."
        )
        report = replace(report, notes=[*report.notes, note])
    if (survey.first, len(survey.steps)) != (first, span - 1):  # the report is on another part
        survey, _ = _survey(clip, data, first, first + span, quiet)
    found = find_candidates(survey, data.n_sample_frames, natural_step, steps)
    if not found:
        note = (
            f"{report.path}: {len(clip)} frames are too few to choose n_sample_frames "
            f"{data.n_sample_frames} of: lower it, or take a longer clip."
        )
        return replace(report, notes=[*report.notes, note])
    best = found[0]
    step = _step(best)
    changes = [
        ("sample_start_idx", f"{best.frames[0]}"),
        ("frame_step", f"{step}"),
        *((key, "null") for key in ("start_s", "duration_s") if choice.by_time),
    ]
    now = rank(report.window, fps / choice.fps(fps), natural_step)
    better = len(report.window.frames) != data.n_sample_frames or is_better(
        rank(best, step, natural_step), now
    )
    report = replace(report, candidates=tuple(found))
    if not better:
        return report
    if place != "train_data":  # no override reaches into a list
        values = ", ".join(f"{key}: {value}" for key, value in changes)
        note = f"{report.path}: better frames: set {{{values}}} in {place}."
        return replace(report, notes=[*report.notes, note])
    return replace(report, overrides=tuple(f"{place}.{key}={value}" for key, value in changes))


def _step(window: Window) -> int:
    return window.frames[1] - window.frames[0] if len(window.frames) > 1 else 1


def _survey(
    clip: ClipFile, data: TrainData, start: int, stop: int, quiet: bool
) -> tuple[Survey, Bars]:
    """Measure all steps of a part of a clip, and its bars, as training sees it."""
    width, height = data.width, data.height
    if data.use_bucketing:
        width, height = bucket_size(width, height, clip.width, clip.height)
    view = View.of(clip.width, clip.height, width, height)
    finder = BarFinder()

    def seen() -> Iterator[Frames]:
        pictures = clip.stream(start, stop)
        for picture in tqdm(pictures, "clip", stop - start, leave=False, delay=5, disable=quiet):
            frame = view.see(picture)
            finder.add(frame)
            yield frame

    steps = list(measure_steps(seen()))
    return Survey(start, steps), finder.bars()
