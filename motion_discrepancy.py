"""Motion discrepancy between a reference clip and folders of videos."""

from evaluation import score
from evaluation.command import add_motion_arguments, finish, scorer_settings, scoring_parser
from evaluation.metrics import MOTION
from evaluation.results import print_positions
from evaluation.scorers import TRACKERS
from motionmatcher.command_line import remove_unfinished_outputs, run
from motionmatcher.paths import input_path


def main() -> int:
    """Parse, score."""
    parser = scoring_parser(
        "Measure how far the motion of videos is from the reference clip's.",
        "what the videos show; only recorded with the scores",
    )
    parser.add_argument(
        "--source_video", type=input_path, required=True, metavar="REF", help="the reference clip"
    )
    parser.add_argument(
        "--tracker",
        choices=TRACKERS,
        default="cotracker",
        help="point tracker; scores of different trackers are not comparable (default: cotracker)",
    )
    add_motion_arguments(parser)
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also score the reference re-encoded, mirrored, frozen, reversed and time-shuffled, and "
        "say which metrics these do not bear out",
    )
    args = parser.parse_args()
    remove_unfinished_outputs(args)
    scores = score(
        args.output_dir,
        args.source_video,
        args.prompt,
        [MOTION],
        args.device,
        settings=scorer_settings(args),
        controls=args.controls,
    )
    exit_code = finish(scores, args)
    if scores.controls:
        print_positions(scores)
    return exit_code


if __name__ == "__main__":
    run(main)
