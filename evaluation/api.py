"""Score folders of videos against a reference clip, from Python."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.folders import (
    OutputFolder,
    OutputVideo,
    ReferenceVideo,
    open_folder,
    read_reference,
)
from evaluation.metrics import CLIP, GROUPS, MOTION, REWARD
from evaluation.results import print_folder
from evaluation.scorers import Models, ScorerSettings, check_scorers, have_prompts, load_models
from evaluation.scoring import OnVideo, Scorer, Scores, score_folder
from motionmatcher.clips.clip_file import Frames
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    from os import PathLike


def score(
    folders: "str | PathLike[str] | Sequence[str | PathLike[str]]",
    reference: "str | PathLike[str] | None" = None,
    prompt: str | None = None,
    metrics: Collection[str] | None = None,
    device: str = "auto",
    *,
    settings: ScorerSettings | None = None,
    baseline: "str | PathLike[str] | None" = None,
    controls: bool = False,
    report: "str | PathLike[str] | None" = None,
    quiet: bool = False,
    on_video: OnVideo | None = None,
) -> Scores:
    """Score one or several folders of videos.

    Args:
        folders: Folders of videos, whoever made them.
        reference: The clip whose motion they shall have: adds motion and leakage of appearance.
        prompt: What all videos should show; None: each video's own, from its folder's manifest.json.
        metrics: Groups of `evaluation.metrics.GROUPS`: "clip", "image_reward", "motion". None: all
            that are available here; the result says what was left out, and why.
        device: auto, cpu, cuda, cuda:1, mps, …
        settings: Which models score.
        baseline: A folder of the base model's own videos, one more row to compare with.
        controls: Also score the reference itself, re-encoded, mirrored, frozen, reversed and
            time-shuffled, and find the metrics that are not to be trusted on it.
        report: An HTML file to write: one page that shows everything; needs a reference.
        quiet: Print nothing.
        on_video: See `scoring.OnVideo`.

    Raises:
        UserError: A folder, the reference, a model or its weights is missing or wrong.
    """
    from motionmatcher.devices import choose_device

    chosen_device = str(choose_device(device))
    settings = settings or ScorerSettings()
    if report is not None and (reference is None or MOTION not in (metrics or GROUPS)):
        raise UserError("report: the page compares motion with a reference clip's: give one.")
    needs_prompt = metrics is not None and bool({CLIP, REWARD} & set(metrics))
    clip = None if reference is None else read_reference(Path(reference), quiet)
    paths = [folders] if isinstance(folders, str) or not isinstance(folders, Sequence) else folders
    opened = [open_folder(Path(path), prompt, needs_prompt) for path in paths]
    base = None if baseline is None else open_folder(Path(baseline), prompt, needs_prompt)
    check_scorers(settings, metrics)
    everything = [*opened, *([] if base is None else [base])]
    models = load_models(
        settings, metrics, chosen_device, have_prompts(everything), clip is not None
    )
    if not quiet:
        models.print_left_out()
    return score_opened(
        opened,
        clip,
        models,
        baseline=base,
        controls=controls,
        report=None if report is None else Path(report),
        quiet=quiet,
        on_video=on_video,
    )


def score_opened(
    folders: Sequence[OutputFolder],
    reference: ReferenceVideo | None,
    models: Models,
    *,
    baseline: OutputFolder | None = None,
    controls: bool = False,
    report: Path | None = None,
    quiet: bool = False,
    on_video: OnVideo | None = None,
) -> Scores:
    """Score opened folders by loaded models; the arguments are those of `score`."""
    frames = None if reference is None else reference.frames
    motion = models.motion_scorer(frames)
    scorers: list[Scorer] = [*models.frame_scorers(frames), *([] if motion is None else [motion])]
    found: dict[str, Any] = {"left_out": models.left_out}
    if controls and motion is not None and frames is not None:
        from evaluation.controls import doubts, score_controls

        values = score_controls(motion, frames, quiet)
        found |= {"controls": values, "doubts": doubts(motion.metrics, values, frames)}
    if report is None or reference is None or motion is None:
        scored = _score_folders(folders, scorers, baseline, quiet, on_video)
        return replace(scored, **found)

    from evaluation.report import write_report
    from evaluation.report_data import clip_data_uri

    uris: dict[Path, str] = {}

    def encode(video: OutputVideo, frames: Frames) -> None:
        uris[video.path] = clip_data_uri(frames, reference.duration_s)
        if on_video is not None:
            on_video(video, frames)

    scored = _score_folders(folders, scorers, baseline, quiet, encode)
    scores = replace(scored, **found)
    write_report(report, scores, reference, motion.reference, uris)
    return scores


def _score_folders(
    folders: Sequence[OutputFolder],
    scorers: Sequence[Scorer],
    baseline: OutputFolder | None,
    quiet: bool,
    on_video: OnVideo | None,
) -> Scores:
    """Score folders, printing means as they come; the base model's become one more row."""
    metrics = [metric for scorer in scorers for metric in scorer.metrics]
    settings = {key: value for scorer in scorers for key, value in scorer.settings.items()}
    tag = ", ".join(f"{key} {value}" for key, value in settings.items())
    scored = []
    for folder in [*folders, *([] if baseline is None else [baseline])]:
        if not quiet:
            print(f"\n{folder.path}")
        scored.append(score_folder(folder, scorers, folder is baseline, quiet, on_video))
        if not quiet:
            print_folder(scored[-1], metrics, tag)
    return Scores(metrics, settings, scored)
