"""All metrics at once, and a page to look at: `python -m evaluation`."""

from dataclasses import replace

from evaluation.available import choose_tracker, clip_scorers, image_reward_scorers
from evaluation.command import (
    add_baseline_argument,
    add_clip_arguments,
    add_imagereward_argument,
    add_motion_arguments,
    add_optional_tracker_argument,
    finish,
    open_folders,
    score_folders,
    scoring_parser,
)
from evaluation.folders import open_folder, read_reference
from evaluation.results import print_positions
from motionmatcher.command_line import (
    ArgumentParser,
    add_output_argument,
    prepare_outputs,
    run,
)
from motionmatcher.paths import user_path


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

    prepare_outputs(args)
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
        "--source_video", type=user_path, required=True, metavar="REF", help="the reference clip"
    )
    add_output_argument(parser, "--report", "write a self-contained HTML page to FILE")
    add_optional_tracker_argument(parser)
    add_motion_arguments(parser)
    add_clip_arguments(parser)
    add_imagereward_argument(parser)
    add_baseline_argument(parser)
    return parser


if __name__ == "__main__":
    run(main)
