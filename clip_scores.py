"""CLIP-T, frame consistency and appearance leakage of folders of videos."""

from evaluation.command import (
    add_baseline_argument,
    add_clip_arguments,
    finish,
    open_folders,
    score_folders,
    scoring_parser,
)
from evaluation.folders import open_folder, read_reference
from motionmatcher.command_line import prepare_outputs, run
from motionmatcher.paths import user_path


def main() -> int:
    """Parse, check, score."""
    parser = scoring_parser(
        "Score how well videos show their prompts and how smooth they are, by CLIP.",
        "what all videos should show (default: each video's own, from the folder's manifest.json)",
    )
    add_clip_arguments(parser)
    parser.add_argument(
        "--source_video",
        type=user_path,
        metavar="REF",
        help="the reference clip: adds the leakage of its appearance",
    )
    add_baseline_argument(parser)
    args = parser.parse_args()
    if args.baseline and not args.source_video:
        parser.error("--baseline is the floor of the leakage, which needs --source_video")

    from motionmatcher.devices import choose_device

    device = str(choose_device(args.device))
    folders = open_folders(args, needs_prompt=True)
    baseline = open_folder(args.baseline, args.prompt, True) if args.baseline else None
    reference = read_reference(args.source_video)[0] if args.source_video else None

    from evaluation.clip_scorer import ClipScorer, check_clip_choice, load_clip

    check_clip_choice(args.clip_model, args.clip_ckpt)
    prepare_outputs(args)
    encoder = load_clip(args.clip_model, args.clip_ckpt, device, args.batch_size)
    results = score_folders(folders, [ClipScorer(encoder, reference)], baseline)
    return finish(results, args)


if __name__ == "__main__":
    run(main)
