"""Run folders hold settings and checkpoints, and resuming finds the right ones."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from motionmatcher.config.loading import with_preview_defaults, write_settings
from motionmatcher.config.settings import TrainData, TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run, find_resumable

SETTINGS = with_preview_defaults(
    TrainSettings(
        pretrained_model_path="base",
        train_data=TrainData(single_video_path="clip.mp4", single_video_prompt="A cat."),
        lora_rank=7,
    )
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, "train_2030-01-01T00-00-00", 50, 100, 400)


def make_run(folder: Path, name: str, *steps: int) -> Run:
    run = Run(folder / name)
    run.folder.mkdir()
    for step in steps:
        run.checkpoint_folder(step).mkdir()
    return run


def test_a_new_run_is_named_by_its_time_and_holds_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: form.replace("%Y-%m-%dT%H-%M-%S", "NOW"))
    run = Run.create(str(tmp_path / "outputs"), SETTINGS)
    assert run.folder == tmp_path / "outputs" / "train_NOW"
    assert run.settings() == SETTINGS
    assert run.checkpoint_steps() == []
    again = Run.create(str(tmp_path / "outputs"), SETTINGS)
    assert again.folder == tmp_path / "outputs" / "train_NOW-2", "nothing is overwritten"


def test_previews_of_a_run_are_as_its_training_where_its_settings_leave_them_open(run: Run) -> None:
    left_open = replace(SETTINGS.validation_data, num_frames=None, width=None, height=64, seed=None)
    write_settings(run.config_file, replace(SETTINGS, validation_data=left_open, seed=5))
    read = run.settings()
    assert read is not None
    found = read.validation_data
    assert (found.num_frames, found.width, found.height, found.seed) == (16, 384, 64, 5)


def test_the_published_layout(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.config_file == tmp_path / "config.yaml"
    assert run.samples_folder == tmp_path / "samples"
    assert run.reference_folder == tmp_path / "cached_latents"
    assert run.log_folder == tmp_path / "logs"
    assert run.checkpoint_folder(50) == tmp_path / "checkpoint-50"


def test_a_published_run_does_not_say_its_settings(run: Run) -> None:
    assert Run.open(run.folder).settings() is None


def test_checkpoints_are_listed_by_number(run: Run) -> None:
    for other in ("checkpoint-x", "checkpoint-50-old", ".checkpoint-60-unfinished", "samples"):
        (run.folder / other).mkdir()
    assert run.checkpoint_steps() == [50, 100, 400]
    assert run.find_checkpoint() == run.folder / "checkpoint-400"
    assert run.find_checkpoint(100) == run.folder / "checkpoint-100"


def test_a_checkpoint_that_is_not_there(run: Run) -> None:
    with pytest.raises(UserError, match="has no checkpoint-99; there are: 50, 100, 400"):
        run.find_checkpoint(99)
    with pytest.raises(UserError, match="has no checkpoint-1; there are: none"):
        Run(run.folder / "nowhere").find_checkpoint(1)


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path / 'none'}: there is no such run folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(
        UserError, match=f"^{tmp_path} has no checkpoints: expected folders checkpoi"
    ):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    ("keep", "left"), [(None, [50, 100, 400]), (1, [400]), (2, [100, 400]), (9, [50, 100, 400])]
)
def test_the_newest_checkpoints_are_kept(run: Run, keep: int | None, left: list[int]) -> None:
    run.drop_old_checkpoints(keep, saved_step=400)
    assert run.checkpoint_steps() == left


def test_the_checkpoint_just_saved_is_kept(run: Run) -> None:
    run.drop_old_checkpoints(1, saved_step=100)  # resumed from 50, with later ones left of before
    assert run.checkpoint_steps() == [100]


def test_latest_is_the_last_run_with_a_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path, "train_2030-01-01T00-00-00", 500)
    wanted = make_run(tmp_path, "train_2030-01-02T00-00-00", 9, 10)
    make_run(tmp_path, "train_2030-01-03T00-00-00")
    assert find_resumable("latest", str(tmp_path)) == (wanted, 10)


def test_latest_of_nothing(tmp_path: Path) -> None:
    message = f"resume_from_checkpoint: latest finds no run with a checkpoint in {tmp_path}"
    with pytest.raises(UserError, match=message):
        find_resumable("latest", str(tmp_path))


def test_resuming_a_run_or_one_of_its_checkpoints(run: Run) -> None:
    assert find_resumable(str(run.folder), "") == (run, 400)
    assert find_resumable(str(run.folder / "checkpoint-50"), "") == (run, 50)


def test_resuming_what_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no checkpoint-7; there are: 50, 100, 400"):
        find_resumable(str(run.folder / "checkpoint-7"), "")
    with pytest.raises(UserError, match="there is no such run folder"):
        find_resumable(str(tmp_path / "nowhere"), "")


def test_what_only_looks_like_a_checkpoint(run: Run) -> None:
    for name in ("checkpoint-007", "checkpoint-٣", "checkpoint-²", "checkpoint--1", "checkpoint-"):
        (run.folder / name).mkdir()
    (run.folder / "checkpoint-900").write_text("a file")
    assert run.checkpoint_steps() == [50, 100, 400]


def test_what_was_made_after_the_checkpoint_resumed_is_set_aside(run: Run) -> None:
    for name in (
        "step-00100.png",
        "step-00100_a-cat_0.mp4",
        "step-00400.png",
        "step-00400_b_0.mp4",
    ):
        run.samples_folder.mkdir(exist_ok=True)
        (run.samples_folder / name).write_text(name)
    run.reference_folder.mkdir()
    (run.reference_folder / "latents-1.safetensors").write_text("latents")
    write_settings(run.config_file, SETTINGS)
    (run.folder / "choice.json").write_text("chosen of 50, 100 and 400")
    changed = replace(SETTINGS, learning_rate=0.25)

    aside = run.continue_from(50, changed)

    assert aside == run.folder / "set-aside-after-50"
    assert run.checkpoint_steps() == [50]
    assert run.settings() == changed
    assert not list(run.samples_folder.iterdir())
    left = Run.open(aside)  # a run itself
    assert not (run.folder / "choice.json").exists()
    assert (left.folder / "choice.json").is_file()
    assert left.checkpoint_steps() == [100, 400]
    assert left.settings() == SETTINGS
    assert {path.name for path in left.samples_folder.iterdir()} == {
        "step-00100.png",
        "step-00100_a-cat_0.mp4",
        "step-00400.png",
        "step-00400_b_0.mp4",
    }
    assert (left.reference_folder / "latents-1.safetensors").read_text() == "latents"
    assert find_resumable(str(run.folder)) == (run, 50)

    run.checkpoint_folder(60).mkdir()
    assert run.continue_from(50, SETTINGS) == run.folder / "set-aside-after-50-2"
    assert left.checkpoint_steps() == [100, 400]


def test_nothing_is_set_aside_at_the_last_checkpoint(run: Run) -> None:
    write_settings(run.config_file, SETTINGS)
    before = sorted(run.folder.rglob("*"))
    assert run.continue_from(400, SETTINGS) is None
    assert sorted(run.folder.rglob("*")) == before


def test_setting_aside_cut_short_leaves_the_earlier_checkpoints(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that lost its newest checkpoints only made fewer steps; with a gap it would be two."""
    write_settings(run.config_file, SETTINGS)
    original = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == "checkpoint-100":
            raise KeyboardInterrupt
        return original(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        run.continue_from(50, replace(SETTINGS, learning_rate=0.25))
    assert run.checkpoint_steps() == [50, 100]
    assert run.settings() == SETTINGS


def test_a_checkpoint_deleted_half_way_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        run.drop_old_checkpoints(1, 400)
    assert run.checkpoint_steps() == [100, 400]


def test_what_a_killed_process_left_is_removed(run: Run) -> None:
    before = sorted(run.folder.iterdir())
    (run.folder / ".checkpoint-500-unfinished" / "lora").mkdir(parents=True)
    (run.folder / ".checkpoint-10-dropped").mkdir()
    (run.folder / ".checkpoint-50-replaced").mkdir()
    run.samples_folder.mkdir()
    (run.samples_folder / ".step-abcdefgh.unfinished.mp4").write_text("half")
    run.remove_unfinished()
    assert sorted(run.folder.iterdir()) == sorted([*before, run.samples_folder])
    assert list(run.samples_folder.iterdir()) == []


def test_a_checkpoint_that_was_being_replaced_comes_back(run: Run) -> None:
    run.checkpoint_folder(400).rename(run.folder / ".checkpoint-400-replaced")
    run.remove_unfinished()
    assert run.checkpoint_steps() == [50, 100, 400]
