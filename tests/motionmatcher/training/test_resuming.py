"""How a run goes on is checked before any weight is read, and what differs is said."""

from pathlib import Path
from typing import Any

import pytest

from motionmatcher.config.loading import parse_settings, write_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checks import check_training
from motionmatcher.training.resuming import plan_resuming


@pytest.fixture
def run(tmp_path: Path, quick_values: dict[str, Any]) -> Run:
    """A run of four steps with checkpoints of two and four, as train.py settles its settings."""
    run = Run(tmp_path / "train_x")
    for step in (2, 4):
        run.checkpoint_folder(step).mkdir(parents=True)
    settings = parse_settings(TrainSettings, quick_values, "test")
    settled = check_training(settings).settings
    write_settings(run.config_file, settled)
    return run


def test_a_run_goes_on_with_its_own_settings(run: Run) -> None:
    plan = plan_resuming((run, 2))
    assert plan.settings == run.settings()
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("train_data.single_video_prompt=A dog.", "prompt 'A square moves.', not 'A dog.'"),
        ("seed=3", "seed 0, not 3"),
        ("lora_rank=4", "lora_rank 2, not 4"),
        ("lora_targets=[temporal_conv]", "lora_targets ['attention'], not ['temporal_conv']"),
        ("train_data.n_sample_frames=3", "train_data.n_sample_frames 4, not 3"),
        ("train_data.width=40", "train_data.width 32, not 40"),
        ("train_data.frame_step=2", "train_data.frame_step 1, not 2"),
        ("train_data.start_s=0", "train_data.start_s None, not 0.0"),
        ("train_data.duration_s=1", "train_data.duration_s None, not 1.0"),
    ],
)
def test_what_would_make_it_another_run_is_named(run: Run, override: str, difference: str) -> None:
    with pytest.raises(UserError) as error:
        plan_resuming((run, 2), [override, "max_train_steps=5"])
    message = str(error.value)
    assert message.startswith(f"{run.folder / 'checkpoint-2'} was trained with ")
    assert f"{difference}: resume without this change, or start a new run from it with" in message


def test_all_differences_are_named_in_one_line(run: Run) -> None:
    prompt = "train_data.single_video_prompt=one\ntwo"
    with pytest.raises(UserError, match=r"single_video_prompt .* and seed 0, not 3") as error:
        plan_resuming((run, 2), ["seed=3", prompt])
    assert "\n" not in str(error.value)


def test_what_may_change_is_said(run: Run) -> None:
    changes = ["learning_rate=0.25", "max_train_steps=9", "resume_from_checkpoint=latest"]
    plan = plan_resuming((run, 4), changes)
    assert plan.settings.learning_rate == 0.25
    assert plan.notes == (
        "the run goes on with max_train_steps 9 instead of 4, learning_rate 0.25 instead of 0.0005.",
    )


def test_fewer_steps_than_made(run: Run) -> None:
    message = r"checkpoint-4 has made 4 steps, so with max_train_steps 3 nothing is left to do: ask for more"
    with pytest.raises(UserError, match=message):
        plan_resuming((run, 4), ["max_train_steps=3"])
    assert plan_resuming((run, 2), ["max_train_steps=3"]).settings.max_train_steps == 3


def test_a_finished_run_says_so(run: Run) -> None:
    assert plan_resuming((run, 4)).notes == (
        "all 4 steps are made, so nothing is left to do; max_train_steps=N makes more.",
    )


def test_a_published_run_cannot_be_resumed(run: Run) -> None:
    run.config_file.unlink()
    with pytest.raises(UserError, match=r"has no config\.yaml, as published runs .* lora_path"):
        plan_resuming((run, 4))
