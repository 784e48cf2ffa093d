"""The grid and what a budget leaves of it."""

from pathlib import Path

import pytest

from experiments.choose.grid import Grid, check_grid, fit_to_budget, thin
from motionmatcher.errors import UserError
from motionmatcher.runs.choice import Choice
from motionmatcher.runs.run_folder import Run

# 2 prompts: (3 * 2 * 2 + 1) * 2 * 2 = 52 videos.
GRID = Grid((10, 20, 30), (0.0, 0.3), (1.0, 0.8), num_seeds=2)


def test_settings_and_videos_of_a_grid() -> None:
    small = Grid((10, 20), (0.0, 0.3), (1.0,), num_seeds=3)
    assert small.settings == [
        Choice(10, 0.0, 1.0),
        Choice(10, 0.3, 1.0),
        Choice(20, 0.0, 1.0),
        Choice(20, 0.3, 1.0),
    ]
    assert small.num_videos(num_prompts=2) == 5 * 3 * 2  # with the base's
    assert small.describe(2) == (
        "checkpoints 10, 20; noise priors 0, 0.3; LoRA scales 1; 2 prompts, 3 seeds: 30 videos"
    )
    assert Grid.of_dict(small.as_dict()) == small


@pytest.mark.parametrize(
    ("seconds", "left"),
    [
        (520, GRID),
        (519, Grid((10, 20, 30), (0.0, 0.3), (1.0, 0.8), 1)),  # 26 videos
        (260, Grid((10, 20, 30), (0.0, 0.3), (1.0, 0.8), 1)),
        (259, Grid((10, 20, 30), (0.0, 0.3), (1.0,), 1)),  # 14
        (139, Grid((10, 30), (0.0, 0.3), (1.0,), 1)),  # 10
        (99, Grid((30,), (0.0, 0.3), (1.0,), 1)),  # 6
        (59, Grid((30,), (0.0,), (1.0,), 1)),  # 4
        (40, Grid((30,), (0.0,), (1.0,), 1)),
    ],
)
def test_what_a_budget_leaves(seconds: float, left: Grid) -> None:
    assert fit_to_budget(GRID, num_prompts=2, seconds_left=seconds, per_video=10) == left


def test_a_budget_for_less_than_one_setting() -> None:
    message = (
        r"--budget is too small: one setting and the base to compare with take 0\.7 minutes more "
        r"\(10\.0 s a video\), 0\.5 are left\."
    )
    with pytest.raises(UserError, match=message):
        fit_to_budget(GRID, 2, seconds_left=30, per_video=10)
    with pytest.raises(UserError, match=r"0\.0 are left"):
        fit_to_budget(GRID, 2, seconds_left=-5, per_video=10)


def test_what_is_made_costs_nothing() -> None:
    assert fit_to_budget(GRID, 2, seconds_left=-5, per_video=0) == GRID


def test_thinning_keeps_the_ends() -> None:
    assert thin([1, 2, 3]) == (1, 3)
    assert thin([1, 2, 3, 4]) == (1, 3, 4)
    assert thin([1, 2, 3, 4, 5]) == (1, 2, 4, 5)


def test_a_grid_that_the_run_does_not_have(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        (tmp_path / f"checkpoint-{step}").mkdir()
    run = Run(tmp_path)
    check_grid(GRID, run)
    with pytest.raises(UserError, match=r"no checkpoint-40; there are: 10, 20, 30"):
        check_grid(Grid((40,), (0.0,), (1.0,), 1), run)
    with pytest.raises(UserError, match=r"--noise_priors must be at most 1, not 1\.5"):
        check_grid(Grid((10,), (1.5,), (1.0,), 1), run)
    with pytest.raises(UserError, match=r"--lora_scales must be at least"):
        check_grid(Grid((10,), (0.0,), (-100.0,), 1), run)
