"""Score the Moving Shapes base: python -m testbed.score

Samples videos for held-out prompts and measures them exactly, by the renderer's own tracker.
"""

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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from testbed.prompts import HeldOutPrompt
    from testbed.tracker import ClipMeasurement

DEFAULT_BASE = "models/moving_shapes"
NUM_STEPS, GUIDANCE_SCALE = 25, 5.0  # as in configs/moving_shapes.yaml
SHEET_ROWS = 16
# Parts that are to be right, by the names of the values.
TARGETS = {"color": 0.90, "shape": 0.80, "background": 0.95, "one_object": 0.95}
PATH_METRICS = ("roughness", "spread")
PATH_PERCENTILES = (10, 90)
MIN_PATH_FRAMES = 3  # shorter videos, as of the image stage, have no path to speak of
_DATA_SCENES = 500
_DATA_SEED = 4000


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
        help="DDIM steps (25)",
    )
    parser.add_argument("--guidance", type=float, default=GUIDANCE_SCALE, help="scale (5)")
    parser.add_argument(
        "--seed", type=whole_number(0, MAX_SEED), default=0, help="seed of the first video (0)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--sheet", type=user_path, help="write a contact sheet of some videos here")
    add_json_argument(parser)
    arguments = parser.parse_args()
    check_bounds(arguments.guidance, *limits(ValidationData, "guidance_scale"), "--guidance")
    check_seeds(arguments.seed, arguments.num_prompts)
    if not arguments.base.is_dir():
        raise UserError(
            f"{arguments.base}: there is no such base; "
            "python -m testbed.pretrain --config testbed/moving_shapes.yaml makes one"
        )
    from motionmatcher.bases.layout import find_base

    layout = find_base(str(arguments.base))

    from motionmatcher.bases.base_model import load_base_model
    from motionmatcher.devices import choose_device
    from motionmatcher.files import write_json
    from testbed.prompts import held_out_prompts
    from testbed.sampling import base_sampling, sample_videos
    from testbed.tracker import measure_clip

    base = load_base_model(layout, choose_device(arguments.device))
    prompts = held_out_prompts(arguments.num_prompts)
    videos = sample_videos(
        base,
        [prompt.text for prompt in prompts],
        range(arguments.seed, arguments.seed + len(prompts)),
        base_sampling(arguments.num_frames, arguments.num_steps, arguments.guidance),
    )
    measurements = [measure_clip(video) for video in videos]
    scores = score_videos(prompts, measurements)
    settings = ("num_prompts", "num_frames", "num_steps", "guidance", "seed")
    scores["settings"] = {name: getattr(arguments, name) for name in settings}
    scores["base"] = {"folder": str(arguments.base), "fingerprint": base.fingerprint}
    print(f"\n{arguments.base}, fingerprint {base.fingerprint}: {format_settings(scores)}")
    print(format_scores(scores))
    if arguments.json:
        write_json(arguments.json, scores)
        print(f"scores: {arguments.json}")
    if arguments.sheet:
        _write_sheet(arguments.sheet, prompts, videos, measurements)
        print(f"contact sheet: {arguments.sheet}")
    return 0


def score_videos(
    prompts: "Sequence[HeldOutPrompt]", measurements: "Sequence[ClipMeasurement]"
) -> dict[str, Any]:
    """Compare measured videos with what their prompts ask for.

    Args:
        prompts: One per video.
        measurements: One per video.

    Returns:
        "appearance": parts of the videos (of the frames for "one_object") that are right;
        "object_in_every_frame": the part of videos that "paths" and "motion_words" are about;
        "paths": median of the videos, the data's percentiles, and the part of videos between them;
        "motion_words": for each kind of words, the part of prompts that is followed with its 95 %
        bootstrap interval, the part if the videos are dealt out to the prompts at random, and the
        number of prompts. Videos of less than three frames have "appearance" alone.
    """
    import numpy as np

    pairs = list(zip(prompts, measurements, strict=True))
    right = [right_appearance(prompt, measured) for prompt, measured in pairs]
    appearance = {name: float(np.mean([parts[name] for parts in right])) for name in right[0]}
    whole = [not np.isnan(m.path).any() for m in measurements]
    if len(measurements[0].path) < MIN_PATH_FRAMES:
        return {"appearance": appearance}
    return {
        "appearance": appearance,
        "object_in_every_frame": float(np.mean(whole)),
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


def right_appearance(prompt: "HeldOutPrompt", measured: "ClipMeasurement") -> dict[str, float]:
    """Tell what of a video's appearance is as its prompt says: 1 or 0, for objects a part of frames."""
    scene = prompt.scene
    return {
        "color": float(measured.color == scene.color),
        "shape": float(measured.shape == scene.shape),
        "background": float(measured.background_color == scene.background.color),
        "background_style": float(measured.background_style == scene.background.style),
        "one_object": float((measured.counts == 1).mean()),
    }


def _score_paths(paths: "list[NDArray[np.float64]]") -> dict[str, dict[str, float]]:
    import numpy as np

    from testbed.motion_words import path_statistics
    from testbed.scenes import sample_scene, scene_stream

    if not paths:
        return {}
    streams = [scene_stream(_DATA_SEED, "train", index) for index in range(_DATA_SCENES)]
    scenes = [sample_scene(stream, "train", len(paths[0])) for stream in streams]
    data = [path_statistics(scene.path) for scene in scenes]
    videos = [path_statistics(path) for path in paths]
    scores = {}
    for name in PATH_METRICS:
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
) -> dict[str, dict[str, float | None]]:
    """Count kept promises of each video's own prompt, and of all others for the chance level."""
    import numpy as np

    from evaluation.intervals import bootstrap_interval
    from testbed.motion_words import followed_words

    own: dict[str, list[bool]] = {}
    others: dict[str, list[bool]] = {}
    for index, prompt in enumerate(prompts):
        for other, measured in enumerate(measurements):
            if measured is None:
                continue
            counts = own if other == index else others
            for name, kept in followed_words(prompt, measured).items():
                counts.setdefault(name, []).append(kept)
    scores = {}
    for name, answers in own.items():
        if name not in others or len(answers) < 2:  # one prompt has no interval
            continue
        interval = bootstrap_interval(answers)
        scores[name] = {
            "followed": interval.mean,
            "followed_low": interval.low,
            "followed_high": interval.high,
            "chance": float(np.mean(others[name])),
            "prompts": interval.n,
        }
    return scores


def target_results(scores: dict[str, Any]) -> dict[str, bool]:
    """Tell which targets are reached.

    Args:
        scores: What `score_videos` gives.

    Returns:
        By the values' names: appearance against `TARGETS`; the median of a path's value within
        the data's percentiles; motion words followed above chance, also at the low end of the 95 %
        interval.
    """
    results = {name: scores["appearance"][name] >= least for name, least in TARGETS.items()}
    if "paths" not in scores:
        return results
    for name in PATH_METRICS:
        values = scores["paths"].get(name)  # there is none without a single whole path
        results[name] = bool(values) and (
            values["data_low"] <= values["median"] <= values["data_high"]
        )
    for name, values in scores["motion_words"].items():
        results[f"{name}_words"] = values["followed_low"] > values["chance"]
    return results


def format_settings(scores: dict[str, Any]) -> str:
    """Say in one line what the scores depend on."""
    return (
        "{num_prompts} held-out prompts, {num_frames} frames, {num_steps} DDIM steps, "
        "guidance {guidance:g}, seed {seed}"
    ).format(**scores["settings"])


def format_scores(scores: dict[str, Any]) -> str:
    """Lay the scores out as a table for people."""
    results = target_results(scores)

    def row(name: str, value: str, yardstick: str = "", key: str = "") -> str:
        verdict = {True: "reached", False: "missed", None: ""}[results.get(key)]
        return f"  {name:<18}{value:>22}{yardstick:>22}  {verdict}".rstrip()

    lines = [f"{'appearance':<20}{'right':>22}{'target':>22}"]
    for name, value in scores["appearance"].items():
        target = f"{TARGETS[name]:.0%}" if name in TARGETS else ""
        lines.append(row(name, f"{value:.1%}", target, name))
    if "paths" in scores:
        lines.append(row("in every frame", f"{scores['object_in_every_frame']:.1%}"))
        lines.append(f"{'paths':<20}{'median, part inside':>22}{'data 10th to 90th':>22}")
        for name, values in scores["paths"].items():
            value = f"{values['median']:.2f}, {values['inside']:.0%}"
            bounds = f"{values['data_low']:.2f} to {values['data_high']:.2f}"
            lines.append(row(name, value, bounds, name))
        lines.append(f"{'motion words':<20}{'followed [95 %], prompts':>22}{'chance':>22}")
        for name, values in scores["motion_words"].items():
            interval = f"[{values['followed_low']:.0%}, {values['followed_high']:.0%}]"
            value = f"{values['followed']:.0%} {interval}, {values['prompts']}"
            lines.append(row(name, value, f"{values['chance']:.0%}", f"{name}_words"))
    missed = [name for name, reached in results.items() if not reached]
    lines.append(
        f"{len(results) - len(missed)} of {len(results)} targets reached"
        + (f"; missed: {', '.join(missed)}" if missed else "")
    )
    return "\n".join(lines)


def _write_sheet(
    path: Path,
    prompts: "Sequence[HeldOutPrompt]",
    videos: "Sequence[NDArray[np.uint8]]",
    measurements: "Sequence[ClipMeasurement]",
) -> None:
    from motionmatcher.clips.contact_sheet import write_contact_sheet

    labels = []
    for prompt, measured in list(zip(prompts, measurements, strict=True))[:SHEET_ROWS]:
        missed = [name for name, part in right_appearance(prompt, measured).items() if part < 1]
        labels.append(prompt.text + (f"  (missed: {', '.join(missed)})" if missed else ""))
    write_contact_sheet(path, videos[:SHEET_ROWS], labels)


if __name__ == "__main__":
    run(main)
