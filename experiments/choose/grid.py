"""The grid of settings that are tried, cut down to what a budget allows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from motionmatcher.config.bounds import check_bounds
from motionmatcher.config.declaration import limits
from motionmatcher.config.settings import ValidationData
from motionmatcher.errors import UserError
from motionmatcher.runs.choice import Choice
from motionmatcher.runs.run_folder import Run

# What is tried unless told otherwise.
NOISE_PRIORS = (0.0, 0.15, 0.3, 0.5)
NUM_SEEDS = 4


@dataclass(frozen=True)
class Grid:
    """What is tried.

    Attributes:
        checkpoints: Steps, ascending.
        noise_priors: Shares of the reference's noise, ascending.
        lora_scales: The first is the one that stays where there is time for one only.
        num_seeds: Videos of each prompt and setting.
    """

    checkpoints: tuple[int, ...]
    noise_priors: tuple[float, ...]
    lora_scales: tuple[float, ...]
    num_seeds: int

    @property
    def settings(self) -> list[Choice]:
        """All settings of the grid."""
        axes = self.checkpoints, self.noise_priors, self.lora_scales
        return [Choice(*values) for values in product(*axes)]

    def as_dict(self) -> dict[str, Any]:
        """Put it into plain JSON types."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> "Grid":
        """Take it from plain JSON types."""
        own: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
        }
        return cls(**own)

    def num_videos(self, num_prompts: int) -> int:
        """Count the videos of the grid, with the base's own to compare with."""
        return (len(self.settings) + 1) * self.num_seeds * num_prompts

    def describe(self, num_prompts: int) -> str:
        """Say in one line what is tried."""
        return (
            f"checkpoints {_listed(self.checkpoints)}; noise priors {_listed(self.noise_priors)}; LoRA "
            f"scales {_listed(self.lora_scales)}; {num_prompts} prompts, {self.num_seeds} seeds: "
            f"{self.num_videos(num_prompts)} videos"
        )


def check_grid(grid: Grid, run: Run) -> None:
    """Refuse a grid that a run does not have, or with numbers out of their range.

    Raises:
        UserError: Names the flag and the number.
    """
    for step in grid.checkpoints:
        run.find_checkpoint(step)
    for name, values in (("noise_prior", grid.noise_priors), ("lora_scale", grid.lora_scales)):
        for value in values:
            check_bounds(value, *limits(ValidationData, name), f"--{name}s")


def fit_to_budget(grid: Grid, num_prompts: int, seconds_left: float, per_video: float) -> Grid:
    """Cut a grid down until its videos fit into the time that is left.

    Given up are, in this order: seeds, down to one; LoRA scales but for the first; then the longer of
    checkpoints and noise priors is thinned evenly, its ends kept (of the last two, the last checkpoint and
    the first noise prior).

    Args:
        grid: What was asked for.
        num_prompts: Prompts of each setting.
        seconds_left: For making and scoring videos.
        per_video: Seconds that one takes.

    Returns:
        The largest grid on that way that fits.

    Raises:
        UserError: Not even one setting fits.
    """
    if per_video == 0:  # all is made
        return grid
    most = math.floor(max(seconds_left, 0) / per_video)
    while grid.num_videos(num_prompts) > most:
        steps, priors = grid.checkpoints, grid.noise_priors
        if grid.num_seeds > 1:
            grid = replace(grid, num_seeds=grid.num_seeds - 1)
        elif len(grid.lora_scales) > 1:
            grid = replace(grid, lora_scales=grid.lora_scales[:1])
        elif len(steps) >= len(priors) > 0 and len(steps) > 1:
            grid = replace(grid, checkpoints=thin(steps) if len(steps) > 2 else steps[1:])
        elif len(priors) > 1:
            grid = replace(grid, noise_priors=thin(priors) if len(priors) > 2 else priors[:1])
        else:
            needed = grid.num_videos(num_prompts) * per_video
            raise UserError(
                f"--budget is too small: one setting and the base to compare with take {needed / 60:.1f} "
                f"minutes more ({per_video:.1f} s a video), {max(seconds_left, 0) / 60:.1f} are left."
            )
    return grid


def thin(values: Sequence[Any]) -> tuple[Any, ...]:
    """Take one value out, so that the others lie evenly and both ends stay."""
    last = len(values) - 1
    indices = [round(index * last / (last - 1)) for index in range(last)]
    return tuple(values[index] for index in indices)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
