"""Write a motion pack of a run, to be shared: `python -m motionmatcher.pack RUN`."""

from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.paths import user_path

# What errors call the options of `plan_pack`.
FLAGS = {
    "checkpoint": "--checkpoint_index",
    "output_dir": "--output_dir",
    "overwrite": "--overwrite",
    "prompts": "--prompt",
    "contact_sheet": "--no-sheet",
    "inversion_noise": "--with-inversion-noise",
    "preview": "--with-preview",
    "base_model": "--base_model",
    "license": "--license",
    "clip_license": "--clip_license",
    "scores": "--scores",
}


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(
        prog="python -m motionmatcher.pack",
        description="Write a folder that others make videos with: LoRA, settings, contact sheet, model card.",
        epilog="It holds none of the clip's frames, nor its inversion noise, unless asked.",
    )
    parser.add_argument(
        "run", type=user_path, metavar="RUN", help="a run, or one of its checkpoints"
    )
    parser.add_argument(
        "-ci",
        "--checkpoint_index",
        dest="checkpoint",
        metavar="STEP",
        type=int,
        help="default: the one chosen (choice.json), or the last",
    )
    parser.add_argument(
        "-o", "--output_dir", type=user_path, metavar="DIR", help="default: RUN/pack-STEP"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a pack that is there")

    sheet = parser.add_argument_group("contact sheet, of videos that the pack makes")
    sheet.add_argument(
        "-p",
        "--prompt",
        dest="prompts",
        metavar="PROMPT",
        action="append",
        help="may be given several times; default: the run's previews, less the clip's own prompt",
    )
    sheet.add_argument(
        "--no-sheet",
        dest="contact_sheet",
        action="store_false",
        help="none, and no base model is read for it",
    )
    sheet.add_argument("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")

    clip = parser.add_argument_group("of the clip")
    clip.add_argument(
        "--with-inversion-noise",
        dest="inversion_noise",
        action="store_true",
        help="for the noise prior; the clip can be made of it again",
    )
    clip.add_argument(
        "--with-preview",
        dest="preview",
        action="store_true",
        help="show the clip's frames in the contact sheet",
    )

    card = parser.add_argument_group("model card")
    card.add_argument("--base_model", metavar="ID", help="hub id of the base model")
    card.add_argument(
        "--license", metavar="ID", help="of the LoRA, as the Hub writes it: apache-2.0"
    )
    card.add_argument("--clip_license", metavar="TEXT", help="the clip's source and licence")
    card.add_argument(
        "--scores", type=user_path, metavar="FILE", help="JSON of python -m evaluation --json"
    )
    add_json_argument(parser)
    return parser


def main() -> None:
    """Parse, check, pack, say where it is."""
    arguments = make_parser().parse_args()
    from motionmatcher.devices import choose_device
    from motionmatcher.files import write_json
    from motionmatcher.packing.plan import PackOptions, plan_pack
    from motionmatcher.packing.writing import write_pack

    options = {name: getattr(arguments, name) for name in PackOptions.__annotations__}
    plan = plan_pack(arguments.run, FLAGS, **options)
    device = choose_device(arguments.device)
    remove_unfinished_outputs(arguments)
    pack = write_pack(plan, device)
    print(pack.folder)
    if arguments.json:
        files = sorted(path.name for path in pack.folder.iterdir())
        write_json(arguments.json, {"pack": str(pack.folder), "files": files})


if __name__ == "__main__":
    run(main)
