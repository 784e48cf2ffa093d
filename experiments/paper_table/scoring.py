"""Score the motions of the paper's table with all that is available."""

from collections.abc import Sequence
from pathlib import Path

from evaluation.api import score_opened
from evaluation.folders import OutputVideo, ReferenceVideo
from evaluation.report_data import clip_data_uri
from evaluation.scorers import ScorerSettings, load_models
from evaluation.scoring import OnVideo
from experiments.paper_table.motions import Failure, Motion, read_trained_frames
from experiments.paper_table.table import SHOWN_VIDEOS, ScoredMotion
from motionmatcher.clips.clip_file import Frames
from motionmatcher.errors import UserError


def score_motions(
    motions: Sequence[Motion], failures: list[Failure], settings: ScorerSettings, device: str
) -> tuple[list[ScoredMotion], Sequence[str]]:
    """Score the videos of all motions with all that is available, and write a report of each.

    Args:
        motions: Those whose videos are made.
        failures: Gets those whose videos cannot be scored.
        settings: Which models score.
        device: Where to compute.

    Returns:
        The scores, and what was left out and why.
    """
    models = load_models(settings, None, device)
    models.print_left_out()
    scored = []
    for motion in motions:
        found, data = motion.find_run(), motion.settings.train_data.first
        assert found is not None, "motions without a run have failed"
        try:
            folder = motion.output_folder(found)
        except UserError as error:
            failures.append(Failure(motion.name, str(error)))
            continue
        reference = ReferenceVideo(
            Path(data.single_video_path), read_trained_frames(data), data.fps
        )
        shown: list[str] = []
        scores = score_opened(
            [folder],
            reference,
            models,
            controls=True,
            report=motion.report_file,
            on_video=encode_first(SHOWN_VIDEOS, reference.duration_s, shown),
        )
        reference_uri = clip_data_uri(reference.frames, reference.duration_s)
        scored.append(
            ScoredMotion(
                motion, scores.folders[0], scores.metrics, scores.settings, reference_uri, shown
            )
        )
    return scored, models.left_out


def encode_first(number: int, duration_s: float, uris: list[str]) -> OnVideo:
    """Encode the first videos for a page, as `clip_data_uri` does, while they are decoded."""

    def encode(video: OutputVideo, frames: Frames) -> None:
        if len(uris) < number:
            uris.append(clip_data_uri(frames, duration_s))

    return encode
