"""CLIP-T, frame consistency and appearance leakage of folders of videos."""

from evaluation import score
from evaluation.command import (
    add_baseline_argument,
    add_clip_arguments,
    finish,
    scorer_settings,
    scoring_parser,
)
from evaluation.metrics import CLIP
from motionmatcher.command_line import remove_unfinished_outputs, run
from motionmatcher.paths import input_path


def main() -> int:
    """Parse, score."""
    parser = scoring_parser(
        "Score how well videos show their prompts and how smooth they are, by CLIP.",
        "what all videos should show (default: each video's own, from the folder's manifest.json)",
    )
    add_clip_arguments(parser)
    parser.add_argument(
        "--source_video",
        type=input_path,
        metavar="REF",
        help="the reference clip: adds the leakage of its appearance",
    )
    add_baseline_argument(parser)
    args = parser.parse_args()
    if args.baseline and not args.source_video:
        parser.error("--baseline is the floor of the leakage, which needs --source_video")
    remove_unfinished_outputs(args)
    scores = score(
        args.output_dir,
        args.source_video,
        args.prompt,
        [CLIP],
        args.device,
        settings=scorer_settings(args),
        baseline=args.baseline,
    )
    return finish(scores, args)


if __name__ == "__main__":
    run(main)
