"""Report on a reference clip: `python -m motionmatcher.inspect_clip CLIP`."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from motionmatcher.command_line import (
    ArgumentParser,
    add_json_argument,
    add_output_argument,
    remove_unfinished_outputs,
    run,
)
from motionmatcher.paths import input_path, user_path

if TYPE_CHECKING:
    from motionmatcher.config.settings import TrainSettings


def make_parser() -> ArgumentParser:
    """Make the command line's parser."""
    parser = ArgumentParser(
        prog="python -m motionmatcher.inspect_clip",
        description="Report on a reference clip: its rate, cuts, repeated frames, bars and motion.",
    )
    parser.add_argument("clip", type=input_path, metavar="CLIP", help="mp4, mov, webm, avi or gif")
    parser.add_argument(
        "--config",
        type=user_path,
        metavar="FILE",
        help="settings of a run (YAML), which choose the frames; without, the whole clip is looked at",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change its settings, e.g. train_data.frame_step=2",
    )
    parser.add_argument(
        "--suggest", action="store_true", help="look for frames that are better to train on"
    )
    add_json_argument(parser)
    add_output_argument(
        parser, "--sheet", "write a picture of the frames, or of those suggested, and their motion"
    )
    return parser


def main() -> None:
    """Parse, look at the clip, say what is to be known."""
    parser = make_parser()
    arguments = parser.parse_intermixed_args()
    if arguments.overrides and arguments.config is None:
        parser.error(f"{arguments.overrides[0]}: overrides change the settings of --config FILE.")
    remove_unfinished_outputs(arguments)
    from motionmatcher.files import write_json
    from motionmatcher.inspection.report import inspect_clip
    from motionmatcher.inspection.sheet import write_sheet
    from motionmatcher.inspection.wording import describe

    settings = _settings(arguments)
    report = inspect_clip(arguments.clip, settings, suggest=arguments.suggest)
    print(*describe(report), sep="\n")
    for note in report.notes:
        print(f"note: {note}")
    if arguments.json:
        write_json(arguments.json, asdict(report))
    if arguments.sheet:
        write_sheet(arguments.sheet, report)


def _settings(arguments: argparse.Namespace) -> "TrainSettings | None":
    from motionmatcher.config.loading import load_settings
    from motionmatcher.errors import UserError

    if arguments.config is None:
        return None
    try:
        return load_settings(arguments.config, arguments.overrides)
    except UserError:  # they need not name a clip
        clip = f"train_data.single_video_path={Path(arguments.clip)}"
        return load_settings(arguments.config, [*arguments.overrides, clip])


if __name__ == "__main__":
    run(main)
