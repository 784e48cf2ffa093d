"""Compare measured videos of held-out prompts with what the prompts ask for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import bootstrap_interval
from testbed.motion_words import path_statistics
from testbed.prompts import HeldOutPrompt
from testbed.scenes import sample_scene, scene_stream
from testbed.standards import PATH_METRICS
from testbed.tracker import ClipMeasurement

PATH_PERCENTILES = (10, 90)
MIN_PATH_FRAMES = 3  # shorter videos, as of the image stage, have no path to speak of
_DATA_SCENES = 500
_DATA_SEED = 4000


def score_videos(
    prompts: Sequence[HeldOutPrompt], measurements: Sequence[ClipMeasurement]
) -> dict[str, Any]:
    """Compare measured videos with what their prompts ask for.

    Args:
        prompts: One per video.
        measurements: One per video.

    Returns:
        "appearance": parts of the videos (of the frames for "one_object") that are right;
        "object_in_every_frame": the part of videos that "paths" and "motion_words" are about, for these
        leave out the others;
        "paths": median of the videos, the data's percentiles, and the part of videos between them;
        "motion_words": for each kind of words, the part of prompts that is followed with its 95 %
        bootstrap interval, the part if the videos are dealt out to the prompts at random, and the
        number of prompts. Videos of less than three frames have "appearance" alone; prompts with
        `only_words` count for "motion_words" alone.
    """
    pairs = list(zip(prompts, measurements, strict=True))
    in_full = [(prompt, measured) for prompt, measured in pairs if prompt.only_words is None]
    right = [right_appearance(prompt, measured) for prompt, measured in in_full]
    appearance = {name: float(np.mean([parts[name] for parts in right])) for name in right[0]}
    if len(measurements[0].path) < MIN_PATH_FRAMES:
        return {"appearance": appearance}
    of_words = [(prompt, measured) for prompt, measured in pairs if prompt.names_motion]
    return {
        "appearance": appearance,
        "object_in_every_frame": float(np.mean([_is_whole(measured) for _, measured in in_full])),
        "paths": _score_paths([measured.path for _, measured in in_full if _is_whole(measured)]),
        "motion_words": _score_motion_words(
            [prompt for prompt, _ in of_words],
            [measured if _is_whole(measured) else None for _, measured in of_words],
        ),
    }


def _is_whole(measured: ClipMeasurement) -> bool:
    """Whether an object is in every frame."""
    return not np.isnan(measured.path).any()


def right_appearance(prompt: HeldOutPrompt, measured: ClipMeasurement) -> dict[str, float]:
    """Tell what of a video's appearance is as its prompt says: 1 or 0, for objects a part of frames."""
    scene = prompt.scene
    return {
        "color": float(measured.color == scene.color),
        "shape": float(measured.shape == scene.shape),
        "background": float(measured.background_color == scene.background.color),
        "background_style": float(measured.background_style == scene.background.style),
        "one_object": float((measured.counts == 1).mean()),
    }


def _score_paths(paths: list[NDArray[np.float64]]) -> dict[str, dict[str, float]]:
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
    prompts: Sequence[HeldOutPrompt], measurements: Sequence[ClipMeasurement | None]
) -> dict[str, dict[str, float | None]]:
    """Count kept promises of each video's own prompt, and of all others for the chance level."""
    own: dict[str, list[bool]] = {}
    others: dict[str, list[bool]] = {}
    for index, prompt in enumerate(prompts):
        for other, measured in enumerate(measurements):
            if measured is None:
                continue
            counts = own if other == index else others
            for name, kept in prompt.followed_words(measured).items():
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
