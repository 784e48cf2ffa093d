"""Show what the motion features see in a run's reference: `python -m motionmatcher.maps RUN`."""

from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.config.bounds import MAX_TIMESTEPS, whole_number
from motionmatcher.paths import user_path

# What errors call the options of `plan_maps`.
FLAGS = {"words": "--words", "timesteps": "--timesteps"}


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(
        prog="python -m motionmatcher.maps",
        description="Draw the attention maps that training compares, over the frames of the reference: "
        "RUN/maps/index.html (docs/maps.md). They are the base's, whatever the checkpoint.",
    )
    parser.add_argument(
        "run", type=user_path, metavar="RUN", help="a run, or one of its checkpoints"
    )
    parser.add_argument(
        "--words",
        nargs="+",
        metavar="WORD",
        help="of the reference's prompt, or several in a row in quotes; default: those whose maps vary most",
    )
    parser.add_argument(
        "--timesteps",
        type=whole_number(0, MAX_TIMESTEPS),
        nargs="+",
        metavar="T",
        help="how far the reference is noised, as min_timestep counts; default: the lowest and the middle "
        "one that are trained at",
    )
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_json_argument(parser)
    return parser


def main() -> None:
    """Parse, check, draw, say where to look."""
    arguments = make_parser().parse_args()
    from motionmatcher.devices import choose_device
    from motionmatcher.files import write_json
    from motionmatcher.maps.plan import plan_maps
    from motionmatcher.maps.writing import write_maps

    plan = plan_maps(arguments.run, FLAGS, words=arguments.words, timesteps=arguments.timesteps)
    device = choose_device(arguments.device)
    remove_unfinished_outputs(arguments)
    drawn = write_maps(plan, device)
    if arguments.json:
        write_json(arguments.json, drawn.as_dict())
    print(f"look at: {drawn.page}")


if __name__ == "__main__":
    run(main)
