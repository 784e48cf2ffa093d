"""The paper's table in one command: `python -m experiments.paper_table --configs configs/*.yaml`.

Trains, samples and scores each config, and writes a table. What is there already is not made again,
so that a table that was stopped goes on where it was. Training and sampling run train.py and inference.py.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.command import (
    MAX_BATCH_SIZE,
    add_clip_arguments,
    add_imagereward_argument,
    add_motion_arguments,
    add_optional_tracker_argument,
    scorer_settings,
)
from evaluation.scorers import ScorerSettings, check_scorers
from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.config.bounds import MAX_REPEATS, whole_number
from motionmatcher.config.settings import PUBLISHED_REPEATS
from motionmatcher.paths import PROJECT, user_path

if TYPE_CHECKING:
    import torch

    from experiments.jobs.processes import Processes
    from experiments.paper_table.motions import Failure, Motion

SOME_FAILED = 1


def main() -> int:
    """Parse, check, then do this process's share; the main process writes the table."""
    parser = make_parser()
    args = parse_arguments(parser)
    from experiments.jobs.processes import child_environment, joined_processes
    from experiments.paper_table.motions import plan_motions
    from motionmatcher.devices import choose_device
    from motionmatcher.errors import UserError
    from motionmatcher.files import check_writable

    device = choose_device(args.device)
    check_writable(args.output_dir, "--output_dir")
    settings = scorer_settings(args)
    check_scorers(settings, None)
    motions, left_out, failures = plan_motions(
        args.configs, args.overrides, args.output_dir, args.repeat_num, args.dry_run
    )
    with joined_processes() as processes:
        if processes.is_main:
            print_plan(motions, left_out, failures)
        if not motions:
            raise UserError(f"none of the {len(args.configs)} configs can be run.")
        environment = child_environment(processes, device)
        if args.dry_run:
            return SOME_FAILED if failures else 0
        remove_unfinished_outputs(args)
        mine = make_videos(processes.share(motions), processes, environment, device)
        shares = processes.gather(mine)
        failures = sorted([*failures, *(failure for share in shares for failure in share)])
    # Failures are for the main process to report: launchers stop all processes when one fails.
    return write_results(motions, failures, args, settings, str(device)) if processes.is_main else 0


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(
        prog="python -m experiments.paper_table",
        description="Train, sample and score a set of configs, and write the paper's table. "
        "What is there already is not made again.",
    )
    parser.add_argument(
        "--configs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="configs of train.py, one per motion; those that name no clip are left out",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="change settings of all configs"
    )
    parser.add_argument(
        "--output_dir",
        type=user_path,
        default=Path("outputs/benchmark"),
        metavar="DIR",
        help="gets runs, videos and the table (default: outputs/benchmark)",
    )
    parser.add_argument(
        "--repeat_num",
        type=whole_number(1, MAX_REPEATS),
        default=PUBLISHED_REPEATS,
        help=f"videos per prompt (default: {PUBLISHED_REPEATS}, as published)",
    )
    add_optional_tracker_argument(parser)
    add_motion_arguments(parser)
    add_clip_arguments(parser)
    add_imagereward_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--batch_size",
        type=whole_number(1, MAX_BATCH_SIZE),
        default=16,
        help="frames scored per step (default: 16)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and say what would be done"
    )
    add_json_argument(parser)
    return parser


def parse_arguments(parser: ArgumentParser) -> Namespace:
    """Parse the command line; overrides may also follow the configs, as they do train.py's."""
    args = parser.parse_intermixed_args()
    words = args.configs
    args.configs = [Path(word) for word in words if "=" not in word or Path(word).is_file()]
    args.overrides += [word for word in words if "=" in word and not Path(word).is_file()]
    if not args.configs:
        parser.error("--configs names no file")
    return args


def print_plan(
    motions: Sequence["Motion"], left_out: Sequence[str], failures: Sequence["Failure"]
) -> None:
    """Say what will be done, one line per config."""
    for reason in left_out:
        print(f"left out: {reason}")
    for name, reason in failures:
        print(f"{name}: cannot be run: {reason}")
    for motion in motions:
        print(f"{motion.name}: {motion.describe()}", flush=True)


def make_videos(
    motions: Sequence["Motion"],
    processes: "Processes",
    environment: dict[str, str],
    device: "torch.device",
) -> list["Failure"]:
    """Train and sample motions one by one, as far as that has not been done.

    Args:
        motions: This process's share.
        processes: This process; alone, it shows the programs' progress bars.
        environment: Of the programs.
        device: Where they compute.

    Returns:
        The motions that failed; the others are made all the same.
    """
    from experiments.jobs.resumable import run_missing
    from experiments.paper_table.motions import Failure

    def make(motion: "Motion") -> None:
        make_motion(motion, environment, str(device), show=processes.count == 1)

    failures = []
    for motion, error in run_missing(motions, make):
        if error is not None:
            print(f"{motion.name}: {error}")
            failures.append(Failure(motion.name, str(error)))
    return failures


def make_motion(motion: "Motion", environment: dict[str, str], device: str, show: bool) -> None:
    """Train one motion and generate its videos, as far as that has not been done.

    Raises:
        UserError: train.py or inference.py failed.
    """
    from experiments.jobs.processes import run_program
    from experiments.paper_table.motions import as_series, videos_folder
    from motionmatcher.config.loading import write_settings

    def run_script(name: str, *arguments: object) -> None:
        given = [*map(str, arguments), "--device", device]
        run_program(PROJECT / name, given, environment, motion.log_file, show)

    found = motion.find_run()
    if not motion.is_trained(found):
        print(f"{motion.name}: training; log: {motion.log_file}", flush=True)
        write_settings(motion.config_file, motion.settings)
        source = ("--resume", found.folder) if found else ("--config", motion.config_file)
        run_script("train.py", *source)
        found = motion.find_run()
    assert found is not None, "train.py has made all steps"
    sampling = motion.settings.validation_data
    for series in as_series(motion.missing_takes(found)):
        print(f"{motion.name}: generating videos; log: {motion.log_file}", flush=True)
        run_script(
            "inference.py",
            *(f"--prompt={prompt}" for prompt in series.prompts),
            *("--checkpoint_folder", found.folder, "--output_dir", videos_folder(found)),
            *("--seed", series.seed, "--repeat_num", series.repeat_num),
            # As trained, whatever was chosen for the run since.
            *("--checkpoint_index", found.checkpoint_steps()[-1]),
            *("--noise_prior", sampling.noise_prior, "--lora_scale", sampling.lora_scale),
        )


def write_results(
    motions: Sequence["Motion"],
    failures: list["Failure"],
    args: Namespace,
    settings: ScorerSettings,
    device: str,
) -> int:
    """Score what is made, write the table, and give the exit code."""
    from experiments.paper_table.scoring import score_motions

    failed = {failure.name for failure in failures}
    made = [motion for motion in motions if motion.name not in failed]
    scored, left_out = score_motions(made, failures, settings, device) if made else ([], [])
    for name, reason in failures:
        print(f"not in the table: {name}: {reason}")
    if not scored:
        print("no motion could be scored, so there is no table.")
        return SOME_FAILED

    from evaluation.results import scores_as_dict
    from evaluation.scoring import Scores
    from experiments.paper_table.table import make_table, write_csv, write_markdown, write_page
    from motionmatcher.files import write_json

    table = make_table(scored, left_out, failures)
    files = [args.output_dir / f"table{suffix}" for suffix in (".md", ".csv", ".html")]
    write_markdown(files[0], table)
    write_csv(files[1], table)
    write_page(files[2], table, scored)
    print(f"\n{files[0].read_text(encoding='utf-8')}")
    for file in files:
        print(file)
    scores = Scores(
        scored[0].metrics, table.settings, [item.scores for item in scored], left_out=left_out
    )
    if args.json:
        more = {
            "all_motions": {name: vars(value) for name, value in table.total.intervals.items()},
            "failed": {failure.name: failure.reason for failure in failures},
        }
        write_json(args.json, scores_as_dict(scores) | more)
    return SOME_FAILED if failures else scores.exit_code


if __name__ == "__main__":
    run(main)
