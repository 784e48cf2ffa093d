"""Three clips of one path with different looks against one of them: python -m experiments.several_clips

Trains feature matching and the denoising loss on rendered clips, after captions that leave their looks
unsaid, and measures path error and leakage by the renderer's ground truth (docs/several_clips.md). Stop it
at any time; the same command goes on.
"""

import sys
from pathlib import Path

from motionmatcher.command_line import (
    INTERRUPTED,
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.config.bounds import MAX_UPDATES, whole_number
from motionmatcher.paths import shipped, user_path

CONFIG = "experiments/compare/transformer.yaml"
MOTIONS = ("swing", "sharp_turns", "there_and_back", "camera_follows")
METHODS = ("feature_matching", "denoising")
MAX_SEEDS, MAX_WORKERS = 1000, 1024


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(prog="python -m experiments.several_clips", description=__doc__)
    add = parser.add_argument
    add("--motions", nargs="+", choices=MOTIONS, default=MOTIONS, help="default: all four")
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help="default: both")
    add("--seeds", type=whole_number(1, MAX_SEEDS), default=3, help="trainings of each (3)")
    add("--steps", type=whole_number(1, MAX_UPDATES), default=200, help="of a training (200)")
    add(
        "--workers",
        type=whole_number(1, MAX_WORKERS),
        default=1,
        help="processes of one thread (1)",
    )
    add(
        "--output_dir",
        type=user_path,
        default=Path("outputs/several_clips"),
        help="gets clips and cells",
    )
    add(
        "--results_dir",
        type=user_path,
        default=Path("docs/comparison/several_clips"),
        help="gets RESULTS.md, videos.csv and a picture of the clips",
    )
    add_json_argument(parser)
    return parser


def main() -> int:
    """Parse, make what is missing, write the results."""
    arguments = make_parser().parse_args()
    from experiments.compare.cells import SCRATCH_PREFIX
    from experiments.compare.config import load_comparison
    from experiments.jobs.resumable import exclusive
    from experiments.several_clips.clips import render_clips, show_clips
    from experiments.several_clips.measuring import Question, make_all, make_jobs, read_rows
    from experiments.several_clips.report import PICTURE, write_report

    remove_unfinished_outputs(arguments)
    question = Question(
        tuple(dict.fromkeys(arguments.motions)),
        arguments.seeds,
        arguments.steps,
        tuple(dict.fromkeys(arguments.methods)),
    )
    config = load_comparison(shipped(CONFIG))
    clips, cells = arguments.output_dir / "clips", arguments.output_dir / "cells"
    try:
        with exclusive(cells, SCRATCH_PREFIX):
            render_clips(clips, question.motions)
            jobs = make_jobs(config, question, clips, cells)
            make_all(jobs, arguments.workers)
    except KeyboardInterrupt:
        print(
            f"interrupted: what is finished is kept in {cells}; the same command goes on",
            file=sys.stderr,
        )
        return INTERRUPTED
    show_clips(clips, question.motions, arguments.results_dir / PICTURE)
    write_report(arguments.results_dir, read_rows(jobs), question, arguments.json)
    print(arguments.results_dir / "RESULTS.md")
    return 0


if __name__ == "__main__":
    run(main)
