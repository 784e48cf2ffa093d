"""What the command lines of all scorers share: arguments, tables, files."""

from argparse import Namespace
from dataclasses import fields

from evaluation.results import print_comparison, write_scores_csv, write_scores_json
from evaluation.scorers import DEFAULT_IMAGE_REWARD, EVALUATION_DIR, TRACKERS, ScorerSettings
from evaluation.scoring import Scores
from motionmatcher.command_line import ArgumentParser, add_json_argument, add_output_argument
from motionmatcher.config.bounds import MAX_PIXELS, whole_number
from motionmatcher.paths import expand_home, find_path, input_path, user_path

MAX_BATCH_SIZE = 10_000
MAX_GRID_SIZE = 1000
DEFAULTS = ScorerSettings()


def scoring_parser(description: str, prompt_help: str) -> ArgumentParser:
    """Make a parser with the arguments that all scorers have.

    Args:
        description: What the script measures.
        prompt_help: What `--prompt` is to it.
    """
    parser = ArgumentParser(description=description)
    parser.add_argument(
        "--output_dir",
        type=user_path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folder of videos to score; several are compared in one table",
    )
    parser.add_argument("--prompt", help=prompt_help)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")
    parser.add_argument(
        "--batch_size",
        type=whole_number(1, MAX_BATCH_SIZE),
        default=DEFAULTS.batch_size,
        help=f"frames per step (default: {DEFAULTS.batch_size})",
    )
    add_json_argument(parser)
    add_output_argument(parser, "--csv", "also write one row per video to FILE")
    return parser


def add_clip_arguments(parser: ArgumentParser) -> None:
    """Add the choice of the CLIP model."""
    parser.add_argument(
        "--clip_model",
        type=_name_or_path,
        default=DEFAULTS.clip_model,
        metavar="NAME|DIR",
        help="open_clip architecture, or a folder with a CLIP model of transformers "
        f"(default: {DEFAULTS.clip_model}, the paper's)",
    )
    parser.add_argument(
        "--clip_ckpt",
        type=_name_or_path,
        default=DEFAULTS.clip_ckpt,
        metavar="TAG|FILE",
        help=f"weights of an open_clip architecture: a tag or a file (default: {DEFAULTS.clip_ckpt})",
    )


def add_baseline_argument(parser: ArgumentParser) -> None:
    """Add the base model's own videos."""
    parser.add_argument(
        "--baseline",
        type=user_path,
        metavar="DIR",
        help="videos of the base model for the same prompts: the floor of the leakage",
    )


def add_optional_tracker_argument(parser: ArgumentParser) -> None:
    """Add the choice of the tracker where one that is not installed may be replaced."""
    parser.add_argument(
        "--tracker",
        choices=TRACKERS,
        help="point tracker (default: CoTracker when it is installed, else flow, and says so)",
    )


def add_motion_arguments(parser: ArgumentParser) -> None:
    """Add the choice of the tracker and of what it looks at."""
    parser.add_argument(
        "--cotracker_ckpt",
        type=input_path,
        metavar="FILE",
        help=f"CoTracker 2 or CoTracker 3 offline checkpoint (default: looked for in "
        f"{EVALUATION_DIR.name}/)",
    )
    parser.add_argument(
        "--grid_size",
        type=whole_number(1, MAX_GRID_SIZE),
        default=DEFAULTS.grid_size,
        help=f"tracks per side (default: {DEFAULTS.grid_size})",
    )
    size = "all videos are resized to it (default: the reference's own)"
    parser.add_argument("--height", type=whole_number(1, MAX_PIXELS), metavar="PIXELS", help=size)
    parser.add_argument("--width", type=whole_number(1, MAX_PIXELS), metavar="PIXELS", help=size)


def add_imagereward_argument(parser: ArgumentParser) -> None:
    """Add the place of the ImageReward checkpoint."""
    parser.add_argument(
        "--imagereward_ckpt",
        type=_name_or_path,
        default=DEFAULT_IMAGE_REWARD,
        metavar="FILE|HUB_ID",
        help="ImageReward-v1.0 checkpoint with BERT's vocab.txt beside it, or a hub id such as "
        "THUDM/ImageReward (default: evaluation/imagereward/ImageReward.pt)",
    )


def _name_or_path(text: str) -> str:
    """Parse a flag that is a name or leads to a file or folder."""
    return find_path(expand_home(text))


def scorer_settings(args: Namespace) -> ScorerSettings:
    """Take the models from a command line; what it has no flag for stays at its default."""
    names = {entry.name for entry in fields(ScorerSettings)}
    return ScorerSettings(**{key: value for key, value in vars(args).items() if key in names})


def finish(scores: Scores, args: Namespace) -> int:
    """Print the comparison, write what `--json` and `--csv` ask for, and give the exit code."""
    if len(scores.folders) > 1 or scores.controls:
        print_comparison(scores)
    if args.json:
        write_scores_json(args.json, scores)
    if args.csv:
        write_scores_csv(args.csv, scores)
    return scores.exit_code
