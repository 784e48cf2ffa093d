"""Score the motions of a benchmark with all that is available."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from evaluation.available import choose_tracker, image_reward_scorers
from evaluation.clip_scorer import ClipScorer, check_clip_choice, load_clip
from evaluation.command import EVALUATION_DIR, score_folders
from evaluation.controls import score_controls
from evaluation.cotracker import find_checkpoint
from evaluation.image_reward_files import find_files
from evaluation.motion_scorer import MotionScorer
from evaluation.report import write_report
from evaluation.results import Results
from experiments.paper_table.motions import Failure, Motion, read_trained_frames
from experiments.paper_table.table import ScoredMotion
from motionmatcher.command_line import ArgumentParser
from motionmatcher.errors import UserError


def check_scorers(args: Namespace, parser: ArgumentParser) -> None:
    """Refuse now what was asked for by name and is not there, not after days of training.

    Raises:
        UserError: Names what is missing and where to get it.
    """
    check_clip_choice(args.clip_model, args.clip_ckpt)
    if args.imagereward_ckpt != parser.get_default("imagereward_ckpt"):
        find_files(args.imagereward_ckpt)
    if args.tracker == "cotracker" or (args.cotracker_ckpt and args.tracker is None):
        find_checkpoint(args.cotracker_ckpt, EVALUATION_DIR)


def score_motions(
    motions: Sequence[Motion],
    failures: list[Failure],
    args: Namespace,
    parser: ArgumentParser,
    device: str,
) -> tuple[list[ScoredMotion], list[str]]:
    """Score the videos of all motions with all that is available, and write a report of each.

    Args:
        motions: Those whose videos are made.
        failures: Gets those whose videos cannot be scored.
        args: The command line.
        parser: Knows its defaults.
        device: Where to compute.

    Returns:
        The scores, and what was left out and why.
    """
    left_out: list[str] = []
    encoders = []
    try:
        encoders.append(load_clip(args.clip_model, args.clip_ckpt, device, args.batch_size))
    except UserError as error:
        left_out.append(f"CLIP scores: {error}")
    rewards = image_reward_scorers(args, parser, [], device, left_out)
    tracker = choose_tracker(args, device, left_out)
    for reason in left_out:
        print(f"left out: {reason}")

    scored = []
    for motion in motions:
        found, data = motion.find_run(), motion.settings.train_data
        assert found is not None, "motions without a run have failed"
        reference = read_trained_frames(data)
        try:
            folder = motion.output_folder(found)
        except UserError as error:
            failures.append(Failure(motion.name, str(error)))
            continue
        judges = [ClipScorer(encoder, reference) for encoder in encoders]
        motion_scorer = MotionScorer(tracker, reference, args.height, args.width)
        results = score_folders([folder], [*judges, *rewards, motion_scorer])
        scored.append(ScoredMotion(motion, results.folders[0], results.metrics, results.settings))
        controls = score_controls(motion_scorer, reference)
        write_report(
            motion.report_file,
            Results(results.metrics, results.settings, results.folders, controls, left_out),
            Path(data.single_video_path),
            reference,
            data.fps,
            motion_scorer.reference,
        )
    return scored, left_out
