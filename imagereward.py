"""ImageReward of folders of videos."""

from evaluation import score
from evaluation.command import (
    add_imagereward_argument,
    finish,
    scorer_settings,
    scoring_parser,
)
from evaluation.metrics import REWARD
from motionmatcher.command_line import remove_unfinished_outputs, run


def main() -> int:
    """Parse, score."""
    parser = scoring_parser(
        "Score videos by ImageReward: what people would prefer for the prompt.",
        "what all videos should show (default: each video's own, from the folder's manifest.json)",
    )
    add_imagereward_argument(parser)
    args = parser.parse_args()
    remove_unfinished_outputs(args)
    scores = score(
        args.output_dir,
        prompt=args.prompt,
        metrics=[REWARD],
        device=args.device,
        settings=scorer_settings(args),
    )
    return finish(scores, args)


if __name__ == "__main__":
    run(main)
