"""Motion discrepancy between a reference clip and folders of videos."""

from dataclasses import replace

from evaluation.command import (
    EVALUATION_DIR,
    add_motion_arguments,
    finish,
    open_folders,
    score_folders,
    scoring_parser,
)
from evaluation.folders import read_reference
from evaluation.results import print_positions
from motionmatcher.command_line import prepare_outputs, run
from motionmatcher.paths import user_path


def main() -> int:
    """Parse, check, score."""
    parser = scoring_parser(
        "Measure how far the motion of videos is from the reference clip's.",
        "what the videos show; only recorded with the figures",
    )
    parser.add_argument(
        "--source_video", type=user_path, required=True, metavar="REF", help="the reference clip"
    )
    parser.add_argument(
        "--tracker",
        choices=("cotracker", "flow"),
        default="cotracker",
        help="point tracker; figures of different trackers are not comparable (default: cotracker)",
    )
    add_motion_arguments(parser)
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also score the reference itself, mirrored, frozen, reversed and time-shuffled",
    )
    args = parser.parse_args()

    from motionmatcher.devices import choose_device

    device = str(choose_device(args.device))
    reference, _ = read_reference(args.source_video)
    folders = open_folders(args, needs_prompt=False)

    from evaluation.controls import score_controls
    from evaluation.motion_scorer import MotionScorer
    from evaluation.trackers import load_tracker

    prepare_outputs(args)
    tracker = load_tracker(
        args.tracker, args.grid_size, device, args.cotracker_ckpt, EVALUATION_DIR
    )
    scorer = MotionScorer(tracker, reference, args.height, args.width)
    controls = score_controls(scorer, reference) if args.controls else {}
    results = replace(score_folders(folders, [scorer]), controls=controls)
    exit_code = finish(results, args)
    if controls:
        print_positions(results)
    return exit_code


if __name__ == "__main__":
    run(main)
