"""What a Moving Shapes base is held to: how it is sampled for its scores, and which it is to reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATH_METRICS = ("roughness", "spread")


@dataclass(frozen=True, kw_only=True)
class Standard:
    """How the base with one kind of denoiser is measured, and its targets.

    Attributes:
        solver: Its name for people; in lower case one of `settings.SCHEDULERS`.
        guidance_scale: Scale of classifier-free guidance.
        prompts_per_word: As of `prompts.held_out_prompts`.
        appearance: Least parts of the videos that are to be right, by the names of the values.
        chance_multiples: How many times its chance level each kind of motion words is to exceed, with the
            lower end of its interval; 1 for those that are not here.
    """

    solver: str
    guidance_scale: float
    prompts_per_word: int
    appearance: Mapping[str, float]
    chance_multiples: Mapping[str, int]

    def chance_multiple(self, words: str) -> int:
        """How many times its chance level a kind of motion words is to exceed."""
        return self.chance_multiples.get(words, 1)


# By the folder of the base's denoiser.
STANDARDS = {
    "unet": Standard(
        solver="DDIM",
        guidance_scale=5.0,
        prompts_per_word=0,
        appearance={"color": 0.90, "shape": 0.80, "background": 0.95, "one_object": 0.95},
        chance_multiples={},
    ),
    "transformer": Standard(
        solver="Euler",
        guidance_scale=4.0,
        prompts_per_word=60,
        appearance={
            "color": 0.98,
            "shape": 0.90,
            "background": 0.98,
            "background_style": 0.90,
            "one_object": 0.98,
        },
        chance_multiples={"motion": 2, "start": 2, "end": 2},
    ),
}


def words_by_chance(scores: Mapping[str, Any]) -> list[str]:
    """List the kinds of motion words whose interval reaches down to their chance level."""
    return [
        name
        for name, values in scores.get("motion_words", {}).items()
        if values["followed_low"] <= values["chance"]
    ]


def target_results(scores: Mapping[str, Any], standard: Standard) -> dict[str, bool]:
    """Tell which targets are reached.

    Args:
        scores: What `scoring.score_videos` gives.
        standard: The base's.

    Returns:
        By the values' names: parts of appearance as large as wanted; the median of a path's value
        within the data's percentiles; motion words followed more often than by chance, or than its
        multiple, also at the low end of the 95 % interval.
    """
    results = {
        name: scores["appearance"][name] >= least for name, least in standard.appearance.items()
    }
    if "paths" not in scores:
        return results
    for name in PATH_METRICS:
        values = scores["paths"].get(name)  # there is none without a single whole path
        results[name] = bool(values) and (
            values["data_low"] <= values["median"] <= values["data_high"]
        )
    for name, values in scores["motion_words"].items():
        least = standard.chance_multiple(name) * values["chance"]
        results[f"{name}_words"] = values["followed_low"] > least
    return results
