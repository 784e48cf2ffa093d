"""Figures of a score, to be laid out in tests."""

from typing import Any


def _words(followed: float, low: float, high: float, chance: float) -> dict[str, float]:
    return {
        "followed": followed,
        "followed_low": low,
        "followed_high": high,
        "chance": chance,
        "prompts": 30,
    }


SCORES: dict[str, Any] = {
    "appearance": {
        "color": 0.9,
        "shape": 0.79,
        "background": 1.0,
        "background_style": 0.5,
        "one_object": 0.95,
    },
    "object_in_every_frame": 0.975,
    "paths": {
        "roughness": {"median": 3.0, "data_low": 1.0, "data_high": 3.0, "inside": 0.6},
        "spread": {"median": 0.9, "data_low": 1.0, "data_high": 3.0, "inside": 0.4},
    },
    "motion_words": {
        "motion": _words(followed=0.5, low=0.4, high=0.6, chance=0.39),
        "start": _words(followed=0.5, low=0.3, high=0.7, chance=0.3),
    },
    "settings": {
        "num_prompts": 200,
        "num_frames": 8,
        "num_steps": 25,
        "guidance": 5.0,
        "seed": 0,
    },
}
