"""What the command lines of all scorers share: arguments, opening folders, scoring, writing."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from evaluation.folders import OutputFolder, open_folder
from evaluation.results import (
    Results,
    print_comparison,
    print_folder,
    write_results_csv,
    write_results_json,
)
from evaluation.scoring import Scorer, score_folder
from motionmatcher.command_line import ArgumentParser, add_json_argument, add_output_argument
from motionmatcher.config.bounds import whole_number
from motionmatcher.config.settings import MAX_PIXELS
from motionmatcher.paths import expand_home, user_path

MAX_BATCH_SIZE = 10_000
MAX_GRID_SIZE = 1000
EVALUATION_DIR = Path(__file__).parent


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
        default=16,
        help="frames per step (default: 16)",
    )
    add_json_argument(parser)
    add_output_argument(parser, "--csv", "also write one row per video to FILE")
    return parser


def add_clip_arguments(parser: ArgumentParser) -> None:
    """Add the choice of the CLIP model."""
    parser.add_argument(
        "--clip_model",
        type=expand_home,
        default="ViT-B-32-quickgelu",
        metavar="NAME|DIR",
        help="open_clip architecture, or a folder with a CLIP model of transformers "
        "(default: ViT-B-32-quickgelu, the paper's)",
    )
    parser.add_argument(
        "--clip_ckpt",
        type=expand_home,
        default="openai",
        metavar="TAG|FILE",
        help="weights of an open_clip architecture: a tag or a file (default: openai)",
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
        choices=("cotracker", "flow"),
        help="point tracker (default: CoTracker when it is installed, else flow, and says so)",
    )


def add_motion_arguments(parser: ArgumentParser) -> None:
    """Add the choice of the tracker and of what it looks at."""
    parser.add_argument(
        "--cotracker_ckpt",
        type=user_path,
        metavar="FILE",
        help=f"CoTracker 2 or CoTracker 3 offline checkpoint (default: looked for in "
        f"{EVALUATION_DIR.name}/)",
    )
    parser.add_argument(
        "--grid_size",
        type=whole_number(1, MAX_GRID_SIZE),
        default=50,
        help="tracks per side (default: 50)",
    )
    size = "all videos are resized to it (default: the reference's own)"
    parser.add_argument("--height", type=whole_number(1, MAX_PIXELS), metavar="PIXELS", help=size)
    parser.add_argument("--width", type=whole_number(1, MAX_PIXELS), metavar="PIXELS", help=size)


def add_imagereward_argument(parser: ArgumentParser) -> None:
    """Add the place of the ImageReward checkpoint."""
    parser.add_argument(
        "--imagereward_ckpt",
        type=expand_home,
        default=str(EVALUATION_DIR / "imagereward" / "ImageReward.pt"),
        metavar="FILE|HUB_ID",
        help="ImageReward-v1.0 checkpoint with BERT's vocab.txt beside it, or a hub id such as "
        "THUDM/ImageReward (default: evaluation/imagereward/ImageReward.pt)",
    )


def open_folders(args: Namespace, needs_prompt: bool) -> list[OutputFolder]:
    """Open the folders of `--output_dir`, checking all of them before anything heavy loads."""
    return [open_folder(path, args.prompt, needs_prompt) for path in args.output_dir]


def score_folders(
    folders: Sequence[OutputFolder],
    scorers: Sequence[Scorer],
    baseline: OutputFolder | None = None,
) -> Results:
    """Score folders and print the figures as they come.

    Args:
        folders: What to score.
        scorers: With what.
        baseline: The base model's own videos; they become one more row.

    Returns:
        All figures.
    """
    metrics = [metric for scorer in scorers for metric in scorer.metrics]
    settings = {key: value for scorer in scorers for key, value in scorer.settings.items()}
    tag = ", ".join(f"{key} {value}" for key, value in settings.items())
    scored = []
    for folder in [*folders, *([] if baseline is None else [baseline])]:
        print(f"\n{folder.path}")
        scored.append(score_folder(folder, scorers, is_baseline=folder is baseline))
        print_folder(scored[-1], metrics, tag)
    return Results(metrics, settings, scored)


def finish(results: Results, args: Namespace) -> int:
    """Print the comparison, write what `--json` and `--csv` ask for, and give the exit code."""
    if len(results.folders) > 1 or results.controls:
        print_comparison(results)
    if args.json:
        write_results_json(args.json, results)
    if args.csv:
        write_results_csv(args.csv, results)
    return results.exit_code
