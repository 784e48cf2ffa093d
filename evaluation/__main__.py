"""All metrics at once, and a page to look at: `python -m evaluation`."""

from evaluation import score
from evaluation.command import (
    add_baseline_argument,
    add_clip_arguments,
    add_imagereward_argument,
    add_motion_arguments,
    add_optional_tracker_argument,
    finish,
    scorer_settings,
    scoring_parser,
)
from evaluation.results import print_positions
from motionmatcher.command_line import (
    ArgumentParser,
    add_output_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.paths import input_path


def main() -> int:
    """Parse, score with all that is available, write the page."""
    args = make_parser().parse_args()
    remove_unfinished_outputs(args)
    scores = score(
        args.output_dir,
        args.source_video,
        args.prompt,
        device=args.device,
        settings=scorer_settings(args),
        baseline=args.baseline,
        controls=True,
        report=args.report,
    )
    exit_code = finish(scores, args)
    print_positions(scores)
    if args.report:
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
        "--source_video", type=input_path, required=True, metavar="REF", help="the reference clip"
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
