"""Trials by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.choose.trials import ChoiceVideo, Trial
from motionmatcher.runs.choice import Choice


@pytest.fixture
def trial() -> Callable[..., Trial]:
    """Maker of a setting with one video for each motion discrepancy, all with the same looks."""

    def make(
        checkpoint: int,
        noise_prior: float,
        distances: list[float | None],
        looks: float | None = 0.0,
        **more: float,
    ) -> Trial:
        names = {"colours_taken_over": looks, **more}
        videos = [
            ChoiceVideo(Path(f"{seed}.mp4"), "a cat", seed, {"motion_discrepancy": value, **names})
            for seed, value in enumerate(distances)
        ]
        return Trial(Choice(checkpoint, noise_prior, 1.0), videos)

    return make
