"""Choose a run's checkpoint and noise prior: `python -m experiments.choose RUN`."""

from argparse import ArgumentTypeError

from evaluation.command import (
    add_clip_arguments,
    add_motion_arguments,
    add_optional_tracker_argument,
    scorer_settings,
)
from experiments.choose.grid import NOISE_PRIORS, NUM_SEEDS
from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.config.bounds import MAX_REPEATS, MAX_UPDATES, whole_number
from motionmatcher.paths import user_path

MAX_MINUTES = 1_000_000.0


def main() -> None:
    """Parse, try the settings, say which one is recommended."""
    arguments = make_parser().parse_args()
    from experiments.choose.choosing import as_dict, choose
    from motionmatcher.files import write_json

    remove_unfinished_outputs(arguments)
    chosen = choose(
        arguments.run,
        checkpoints=arguments.checkpoints,
        noise_priors=arguments.noise_priors,
        lora_scales=arguments.lora_scales,
        num_seeds=arguments.seeds,
        budget_minutes=arguments.budget,
        scorers=scorer_settings(arguments),
        device=arguments.device,
    )
    if arguments.json:
        write_json(arguments.json, as_dict(chosen))
    for note in chosen.notes:
        print(f"note: {note}")
    print(f"look at: {chosen.page}")
    print(chosen.decision.line)


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(
        prog="python -m experiments.choose",
        description="Try a run's checkpoints with several noise priors on its preview prompts, and choose "
        "one of them (docs/choosing.md). What is there already is not made again; inference.py takes "
        "the choice, RUN/choice.json, as its default.",
    )
    parser.add_argument("run", type=user_path, metavar="RUN", help="a run folder of train.py")
    parser.add_argument(
        "--checkpoints",
        type=whole_number(0, MAX_UPDATES),
        nargs="+",
        metavar="STEP",
        help="default: all of the run",
    )
    parser.add_argument(
        "--noise_priors",
        type=_number,
        nargs="+",
        default=NOISE_PRIORS,
        metavar="SHARE",
        help=f"default: {' '.join(map(str, NOISE_PRIORS))}",
    )
    parser.add_argument(
        "--lora_scales", type=_number, nargs="+", metavar="SCALE", help="default: the run's own"
    )
    parser.add_argument(
        "--seeds",
        type=whole_number(1, MAX_REPEATS),
        default=NUM_SEEDS,
        help=f"videos of each prompt and setting, from the previews' seed on (default: {NUM_SEEDS})",
    )
    parser.add_argument(
        "--budget",
        type=_minutes,
        metavar="MINUTES",
        help="time for all; the grid is cut down to it (default: the whole grid)",
    )
    add_optional_tracker_argument(parser)
    add_motion_arguments(parser)
    add_clip_arguments(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_json_argument(parser)
    return parser


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def _minutes(text: str) -> float:
    minutes = _number(text)
    if not 0 < minutes <= MAX_MINUTES:
        raise ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return minutes


if __name__ == "__main__":
    run(main)
