"""ImageReward of folders of videos."""

from evaluation.command import (
    add_imagereward_argument,
    finish,
    open_folders,
    score_folders,
    scoring_parser,
)
from evaluation.image_reward_files import find_files
from motionmatcher.command_line import prepare_outputs, run


def main() -> int:
    """Parse, check, score."""
    parser = scoring_parser(
        "Score videos by ImageReward: what people would prefer for the prompt.",
        "what all videos should show (default: each video's own, from the folder's manifest.json)",
    )
    add_imagereward_argument(parser)
    args = parser.parse_args()

    from motionmatcher.devices import choose_device

    device = str(choose_device(args.device))
    folders = open_folders(args, needs_prompt=True)
    checkpoint, vocabulary = find_files(args.imagereward_ckpt)

    from evaluation.image_reward import ImageRewardScorer

    prepare_outputs(args)
    scorer = ImageRewardScorer(checkpoint, vocabulary, device, args.batch_size)
    return finish(score_folders(folders, [scorer]), args)


if __name__ == "__main__":
    run(main)
