"""Score the Moving Shapes base: python -m testbed.score

Samples videos for held-out prompts and measures them exactly, by the renderer's own tracker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionmatcher.command_line import ArgumentParser, add_json_argument, run
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from testbed.prompts import HeldOutPrompt
    from testbed.sampling import SmallBase
    from testbed.tracker import ClipMeasurement

DEFAULT_BASE = Path("models/moving_shapes")
BATCH_SIZE = 10
SHEET_ROWS = 16
# What the base is to reach, by the names of the figures.
TARGETS = {"color": 0.90, "shape": 0.80, "background": 0.95, "one_object": 0.95}
PATH_PERCENTILES = (10, 90)
MIN_PATH_FRAMES = 3  # shorter videos, as of the image stage, have no path to speak of
_DATA_SCENES = 500
_DATA_SEED = 4000


def main() -> int:
    """Parse the command line, sample, measure, report."""
    parser = ArgumentParser(prog="python -m testbed.score", description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, default=DEFAULT_BASE, help="diffusers folder")
    parser.add_argument("--num_prompts", type=int, default=200, help="held-out prompts")
    parser.add_argument("--num_frames", type=int, default=8, help="frames of a video")
    parser.add_argument("--num_steps", type=int, default=25, help="DDIM steps")
    parser.add_argument("--guidance", type=float, default=4.0, help="guidance scale")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first video")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of some videos here")
    add_json_argument(parser)
    arguments = parser.parse_args()
    for name, least in (("num_prompts", 2), ("num_frames", 1), ("num_steps", 1)):
        if getattr(arguments, name) < least:
            found = getattr(arguments, name)
            raise UserError(f"--{name}: expected {least} or more, found {found}")

    from motionmatcher.files import write_json
    from testbed.prompts import held_out_prompts
    from testbed.sampling import load_small_base
    from testbed.tracker import measure_clip

    base = load_small_base(arguments.base)
    prompts = held_out_prompts(arguments.num_prompts)
    videos = _sample_all(base, prompts, arguments)
    measurements = [measure_clip(video) for video in videos]
    scores = score_videos(prompts, measurements)
    settings = ("num_prompts", "num_frames", "num_steps", "guidance", "seed")
    scores["settings"] = {name: getattr(arguments, name) for name in settings}
    print(format_scores(scores))
    if arguments.json:
        write_json(arguments.json, scores)
    if arguments.sheet:
        _write_sheet(arguments.sheet, prompts, videos)
    return 0


def _sample_all(base: "SmallBase", prompts: "Sequence[HeldOutPrompt]", arguments: Any) -> list:
    from tqdm import tqdm

    from testbed.sampling import sample_videos

    videos: list[NDArray[np.uint8]] = []
    with tqdm(total=len(prompts), desc="sampling", unit="video") as progress:
        for first in range(0, len(prompts), BATCH_SIZE):
            batch = prompts[first : first + BATCH_SIZE]
            seeds = [arguments.seed + first + place for place in range(len(batch))]
            videos += sample_videos(
                base,
                [prompt.text for prompt in batch],
                seeds,
                arguments.num_frames,
                arguments.num_steps,
                arguments.guidance,
            )
            progress.update(len(batch))
    return videos


def score_videos(
    prompts: "Sequence[HeldOutPrompt]", measurements: "Sequence[ClipMeasurement]"
) -> dict[str, Any]:
    """Compare measured videos with what their prompts ask for.

    Args:
        prompts: One a video.
        measurements: One a video.

    Returns:
        "appearance": parts of the videos (of the frames for "one_object") that are right;
        "paths": median of the videos, the data's percentiles, and the part of videos between them;
        "motion_words": for each kind of words, the part of prompts that is obeyed, the part if the
        videos are dealt out to the prompts at random, and the number of prompts. Both are empty for
        videos of less than three frames.
    """
    import numpy as np

    pairs = list(zip(prompts, measurements, strict=True))
    right: dict[str, list[float]] = {
        "color": [m.color == p.scene.color for p, m in pairs],
        "shape": [m.shape == p.scene.shape for p, m in pairs],
        "background": [m.background_color == p.scene.background.color for p, m in pairs],
        "background_style": [m.background_style == p.scene.background.style for p, m in pairs],
        "one_object": [float((m.counts == 1).mean()) for m in measurements],
    }
    whole = [not np.isnan(m.path).any() for m in measurements]
    appearance = {name: float(np.mean(values)) for name, values in right.items()}
    if len(measurements[0].path) < MIN_PATH_FRAMES:
        return {"appearance": appearance, "paths": {}, "motion_words": {}}
    return {
        "appearance": appearance,
        "videos_with_whole_path": float(np.mean(whole)),
        "paths": _score_paths([m.path for m, ok in zip(measurements, whole, strict=True) if ok]),
        "motion_words": _score_motion_words(
            [prompt for prompt in prompts if prompt.names_motion],
            [
                measured if ok else None
                for (prompt, measured), ok in zip(pairs, whole, strict=True)
                if prompt.names_motion
            ],
        ),
    }


def _score_paths(paths: "list[NDArray[np.float64]]") -> dict[str, dict[str, float]]:
    import numpy as np

    from testbed.obedience import path_statistics
    from testbed.scenes import sample_scene, scene_stream

    if not paths:
        return {}
    streams = [scene_stream(_DATA_SEED, "train", index) for index in range(_DATA_SCENES)]
    scenes = [sample_scene(stream, "train", len(paths[0])) for stream in streams]
    data = [path_statistics(scene.path) for scene in scenes]
    videos = [path_statistics(path) for path in paths]
    scores = {}
    for name in ("roughness", "spread"):
        low, high = np.percentile([statistics[name] for statistics in data], PATH_PERCENTILES)
        values = np.asarray([statistics[name] for statistics in videos])
        scores[name] = {
            "median": float(np.median(values)),
            "data_low": float(low),
            "data_high": float(high),
            "inside": float(((values >= low) & (values <= high)).mean()),
        }
    return scores


def _score_motion_words(
    prompts: "Sequence[HeldOutPrompt]", measurements: "Sequence[ClipMeasurement | None]"
) -> dict[str, dict[str, float]]:
    """Count kept promises of each video's own prompt, and of all others for the chance level."""
    import numpy as np

    from testbed.obedience import kept_promises

    own: dict[str, list[bool]] = {}
    others: dict[str, list[bool]] = {}
    for index, prompt in enumerate(prompts):
        for other, measured in enumerate(measurements):
            if measured is None:
                continue
            counts = own if other == index else others
            for name, kept in kept_promises(prompt, measured).items():
                counts.setdefault(name, []).append(kept)
    return {
        name: {
            "obeyed": float(np.mean(kept)),
            "chance": float(np.mean(others[name])),
            "prompts": len(kept),
        }
        for name, kept in own.items()
        if name in others
    }


def format_scores(scores: dict[str, Any]) -> str:
    """Lay the scores out as a table for people."""
    lines = [f"{'appearance':<20}{'right':>8}{'target':>8}"]
    for name, value in scores["appearance"].items():
        target = f"{TARGETS[name]:.0%}" if name in TARGETS else ""
        lines.append(f"  {name:<18}{value:>8.1%}{target:>8}")
    lines.append(f"{'paths':<20}{'median':>8}{'data 10th to 90th':>20}{'inside':>8}")
    for name, figures in scores["paths"].items():
        bounds = f"{figures['data_low']:.2f} to {figures['data_high']:.2f}"
        lines.append(f"  {name:<18}{figures['median']:>8.2f}{bounds:>20}{figures['inside']:>8.1%}")
    lines.append(f"{'motion words':<20}{'obeyed':>8}{'chance':>8}{'prompts':>8}")
    for name, figures in scores["motion_words"].items():
        lines.append(
            f"  {name:<18}{figures['obeyed']:>8.1%}{figures['chance']:>8.1%}{figures['prompts']:>8}"
        )
    return "\n".join(lines)


def _write_sheet(
    path: Path, prompts: "Sequence[HeldOutPrompt]", videos: "list[NDArray[np.uint8]]"
) -> None:
    from motionmatcher.contact_sheet import write_contact_sheet

    shown = list(zip(prompts, videos, strict=True))[:SHEET_ROWS]
    write_contact_sheet(
        path, [video for _, video in shown], [prompt.text for prompt, _ in shown], frame_height=64
    )


if __name__ == "__main__":
    run(main)
