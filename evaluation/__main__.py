"""All metrics at once, and a page to look at: `python -m evaluation`."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.command import (
    EVALUATION_DIR,
    add_baseline_argument,
    add_clip_arguments,
    add_imagereward_argument,
    add_motion_arguments,
    finish,
    open_folders,
    score_folders,
    scoring_parser,
)
from evaluation.folders import OutputFolder, open_folder, read_reference
from evaluation.results import print_positions
from evaluation.scoring import Scorer
from motionmatcher.command_line import ArgumentParser, run
from motionmatcher.errors import UserError
from motionmatcher.video import Frames

if TYPE_CHECKING:
    from evaluation.tracks import Tracker


def main() -> int:
    """Parse, check, score with all that is available, write the page."""
    parser = make_parser()
    args = parser.parse_args()
    from motionmatcher.devices import choose_device

    device = str(choose_device(args.device))
    reference, fps = read_reference(args.source_video)
    folders = open_folders(args, needs_prompt=False)
    baseline = open_folder(args.baseline, args.prompt) if args.baseline else None

    from evaluation.controls import score_controls
    from evaluation.motion_scorer import MotionScorer

    left_out: list[str] = []
    everything = [*folders, *([baseline] if baseline else [])]
    judges = [
        *clip_scorers(args, everything, reference, device, left_out),
        *image_reward_scorers(args, parser, everything, device, left_out),
    ]
    tracker = choose_tracker(args, device, left_out)
    for reason in left_out:
        print(f"left out: {reason}")
    motion = MotionScorer(tracker, reference, args.height, args.width)
    controls = score_controls(motion, reference)
    scored = score_folders(folders, [*judges, motion], baseline)
    results = replace(scored, controls=controls, left_out=left_out)
    exit_code = finish(results, args)
    print_positions(results)
    if args.report:
        from evaluation.report import write_report

        write_report(args.report, results, args.source_video, reference, fps, motion.reference)
        print(f"\nreport: {args.report}")
    return exit_code


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = scoring_parser(
        "Score folders of videos with every metric that is available, and show them on one page.",
        "what all videos should show (default: each video's own, from the folder's manifest.json)",
    )
    parser.prog = "python -m evaluation"
    parser.add_argument(
        "--source_video", type=Path, required=True, metavar="REF", help="the reference clip"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write a self-contained HTML page to FILE"
    )
    parser.add_argument(
        "--tracker",
        choices=("cotracker", "flow"),
        help="point tracker (default: CoTracker when it is installed, else flow, and says so)",
    )
    add_motion_arguments(parser)
    add_clip_arguments(parser)
    add_imagereward_argument(parser)
    add_baseline_argument(parser)
    return parser


def clip_scorers(
    args: Namespace,
    folders: Sequence[OutputFolder],
    reference: Frames,
    device: str,
    left_out: list[str],
) -> list[Scorer]:
    """Load CLIP; without prompts or weights it is left out. A wrong name is an error."""
    from evaluation.clip_scorer import ClipScorer, check_clip_choice, load_clip

    check_clip_choice(args.clip_model, args.clip_ckpt)
    if not has_prompts(folders):
        left_out.append("CLIP scores: not every video has a prompt (--prompt or a manifest.json).")
        return []
    try:
        encoder = load_clip(args.clip_model, args.clip_ckpt, device, args.batch_size)
    except UserError as error:
        left_out.append(f"CLIP scores: {error}")
        return []
    return [ClipScorer(encoder, reference)]


def image_reward_scorers(
    args: Namespace,
    parser: ArgumentParser,
    folders: Sequence[OutputFolder],
    device: str,
    left_out: list[str],
) -> list[Scorer]:
    """Load ImageReward; when it is not in its default place it is left out."""
    from evaluation.image_reward_files import find_files

    if not has_prompts(folders):
        left_out.append("ImageReward: not every video has a prompt.")
        return []
    try:
        checkpoint, vocabulary = find_files(args.imagereward_ckpt)
    except UserError as error:
        if args.imagereward_ckpt != parser.get_default("imagereward_ckpt"):
            raise
        left_out.append(f"ImageReward: {error}")
        return []
    from evaluation.image_reward import ImageRewardScorer

    return [ImageRewardScorer(checkpoint, vocabulary, device, args.batch_size)]


def choose_tracker(args: Namespace, device: str, left_out: list[str]) -> "Tracker":
    """Load the tracker asked for; when none is, CoTracker if it is there, else flow."""
    from evaluation.trackers import load_tracker

    choice = (args.grid_size, device, args.cotracker_ckpt, EVALUATION_DIR)
    if args.tracker or args.cotracker_ckpt:
        return load_tracker(args.tracker or "cotracker", *choice)
    try:
        return load_tracker("cotracker", *choice)
    except UserError as error:
        left_out.append(f"CoTracker; motion is measured with the flow tracker instead: {error}")
        return load_tracker("flow", *choice)


def has_prompts(folders: Sequence[OutputFolder]) -> bool:
    """Tell whether every video has a prompt."""
    return all(video.prompt is not None for folder in folders for video in folder.videos)


if __name__ == "__main__":
    run(main)
