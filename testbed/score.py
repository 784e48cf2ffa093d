"""Score the Moving Shapes base: python -m testbed.score

Samples videos for held-out prompts and measures them exactly, by the renderer's own tracker.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionmatcher.command_line import ArgumentParser, add_json_argument, run
from motionmatcher.config.bounds import (
    MAX_FRAMES,
    MAX_REPEATS,
    MAX_SEED,
    MAX_TIMESTEPS,
    check_bounds,
    whole_number,
)
from motionmatcher.config.declaration import limits
from motionmatcher.config.settings import ValidationData
from motionmatcher.errors import UserError
from motionmatcher.paths import input_path, shipped, user_path
from motionmatcher.random_streams import check_seeds
from testbed.standards import STANDARDS, Standard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from testbed.prompts import HeldOutPrompt
    from testbed.tracker import ClipMeasurement

DEFAULT_BASE = "models/moving_shapes"
NUM_STEPS = 25  # as in configs/moving_shapes.yaml
SHEET_ROWS = 16
MAX_PROMPTS_PER_WORD = 1000


def main() -> int:
    """Parse the command line, sample, measure, report."""
    parser = ArgumentParser(prog="python -m testbed.score", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--base", type=input_path, default=shipped(DEFAULT_BASE), help="diffusers folder"
    )
    parser.add_argument(
        "--num_prompts",
        type=whole_number(2, MAX_REPEATS),
        default=200,
        help="held-out prompts (200)",
    )
    parser.add_argument(
        "--num_frames", type=whole_number(1, MAX_FRAMES), default=8, help="frames of a video (8)"
    )
    parser.add_argument(
        "--num_steps",
        type=whole_number(1, MAX_TIMESTEPS),
        default=NUM_STEPS,
        help="sampling steps (25)",
    )
    parser.add_argument("--guidance", type=float, help=f"scale ({_by_base('guidance_scale')})")
    parser.add_argument(
        "--prompts_per_word",
        type=whole_number(0, MAX_PROMPTS_PER_WORD),
        help="further prompts until there are as many for each kind of motion words "
        f"({_by_base('prompts_per_word')})",
    )
    parser.add_argument(
        "--seed", type=whole_number(0, MAX_SEED), default=0, help="seed of the first video (0)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--sheet", type=user_path, help="write a contact sheet of some videos here")
    add_json_argument(parser)
    arguments = parser.parse_args()
    if arguments.guidance is not None:
        check_bounds(arguments.guidance, *limits(ValidationData, "guidance_scale"), "--guidance")
    if not arguments.base.is_dir():
        raise UserError(
            f"{arguments.base}: there is no such base; "
            "python -m testbed.pretrain --config testbed/moving_shapes.yaml makes one"
        )
    from motionmatcher.bases.layout import find_base

    layout = find_base(str(arguments.base))
    standard = STANDARDS[layout.denoiser.folder]

    from motionmatcher.bases.base_model import load_base_model
    from motionmatcher.devices import choose_device
    from motionmatcher.files import write_json
    from testbed.prompts import held_out_prompts
    from testbed.sampling import base_sampling, sample_videos
    from testbed.score_table import format_scores, format_settings
    from testbed.scoring import score_videos
    from testbed.tracker import measure_clip

    settings = _settings(arguments, standard)
    prompts = held_out_prompts(arguments.num_prompts, settings.get("prompts_per_word", 0))
    check_seeds(arguments.seed, len(prompts))
    base = load_base_model(layout, choose_device(arguments.device))
    videos = sample_videos(
        base,
        [prompt.text for prompt in prompts],
        range(arguments.seed, arguments.seed + len(prompts)),
        base_sampling(
            arguments.num_frames, arguments.num_steps, settings["guidance"], standard.solver.lower()
        ),
    )
    measurements = [measure_clip(video) for video in videos]
    scores = score_videos(prompts, measurements)
    scores["settings"] = settings
    scores["base"] = {"folder": str(arguments.base), "fingerprint": base.fingerprint}
    print(
        f"\n{arguments.base}, fingerprint {base.fingerprint}: {format_settings(scores, standard)}"
    )
    print(format_scores(scores, standard))
    if arguments.json:
        write_json(arguments.json, scores)
        print(f"scores: {arguments.json}")
    if arguments.sheet:
        _write_sheet(arguments.sheet, prompts, videos, measurements)
        print(f"contact sheet: {arguments.sheet}")
    return 0


def _by_base(name: str) -> str:
    """Tell a default of the standards for `--help`."""
    first, *others = STANDARDS.items()
    further = (f"{getattr(standard, name):g} for a {folder}" for folder, standard in others)
    return "; ".join([f"{getattr(first[1], name):g}", *further])


def _settings(arguments: argparse.Namespace, standard: Standard) -> dict[str, Any]:
    """What scores depend on; of what was not given, the standard's."""
    names = ("num_prompts", "num_frames", "num_steps", "guidance", "seed")
    settings = {name: getattr(arguments, name) for name in names}
    if settings["guidance"] is None:
        settings["guidance"] = standard.guidance_scale
    prompts_per_word = arguments.prompts_per_word
    if prompts_per_word is None:
        prompts_per_word = standard.prompts_per_word
    return settings | ({"prompts_per_word": prompts_per_word} if prompts_per_word else {})


def _write_sheet(
    path: Path,
    prompts: "Sequence[HeldOutPrompt]",
    videos: "Sequence[NDArray[np.uint8]]",
    measurements: "Sequence[ClipMeasurement]",
) -> None:
    from motionmatcher.clips.contact_sheet import write_contact_sheet
    from testbed.scoring import right_appearance

    labels = []
    for prompt, measured in list(zip(prompts, measurements, strict=True))[:SHEET_ROWS]:
        missed = [name for name, part in right_appearance(prompt, measured).items() if part < 1]
        labels.append(prompt.text + (f"  (missed: {', '.join(missed)})" if missed else ""))
    write_contact_sheet(path, videos[:SHEET_ROWS], labels)


if __name__ == "__main__":
    run(main)
