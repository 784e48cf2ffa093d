"""Paths of settings: from where the command runs, in the project, or as the run recorded them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.folders import open_folder
from motionmatcher import paths
from motionmatcher.bases.layout import find_base
from motionmatcher.clips.reference import Reference
from motionmatcher.clips.video import probe
from motionmatcher.config.loading import parse_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.paths import expand_home, find_path, user_path
from motionmatcher.runs.run_folder import Run, open_checkpoint
from motionmatcher.training.checks import check_training


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the command runs; the project is beside it."""
    monkeypatch.setattr(paths, "PROJECT", tmp_path / "project")
    for name in ("here", "project", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_relative_path_is_looked_for_here_and_then_in_the_project(here: Path) -> None:
    project = here.with_name("project")
    assert find_path("models/base") == "models/base", "nowhere"
    (project / "models" / "base").mkdir(parents=True)
    assert find_path("models/base") == str(project / "models" / "base")
    Path("models/base").mkdir(parents=True)
    assert find_path("models/base") == "models/base"


def test_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert expand_home("~/clip.mp4") == f"{here}/clip.mp4"
    assert user_path("~") == here
    for unchanged in ("./models/base/", "a/~/b", "~nobody-of-this-name/x"):
        assert expand_home(unchanged) == unchanged


def relative_settings(run_values: dict[str, Any], here: Path) -> TrainSettings:
    """Settings whose base and clip are named relative to a folder."""
    (here / "base").symlink_to(run_values["pretrained_model_path"])
    (here / "clip.mp4").symlink_to(run_values["train_data"]["single_video_path"])
    data = {**run_values["train_data"], "single_video_path": "clip.mp4"}
    values = {**run_values, "pretrained_model_path": "base", "train_data": data}
    return parse_settings(TrainSettings, {**values, "output_dir": "runs"}, "test")


def test_a_run_is_used_from_another_folder(
    here: Path, run_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = check_training(relative_settings(run_values, here)).settings
    run = Run.create(settings.output_dir, settings)
    run = Run(run.folder.resolve())
    monkeypatch.chdir(here.with_name("elsewhere"))
    recorded = run.settings()
    assert recorded == settings, "the settings keep the paths as they were given"
    base = (here / "base").resolve()
    assert run.find_path("base") == str(base)
    Path("base").mkdir()  # another folder of that name is not the run's base
    assert run.find_path("base") == str(base)
    plan = check_training(settings, resume=(run, 0))
    assert plan.layout.folder == base

    no_base: Any = None
    (reference,) = Reference.each_of_run(settings, no_base, run)
    clip = reference.clip
    assert clip is not None
    assert clip.file == str((here / "clip.mp4").resolve())
    assert clip.place()["path"] == "clip.mp4", "cached latents keep their names"


def test_a_run_that_was_moved_with_its_project(
    here: Path, run_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create("runs", relative_settings(run_values, here))
    record = run.folder / paths.RECORD_NAME
    gone = {path: f"/gone/{path}" for path in json.loads(record.read_text())}
    record.write_text(json.dumps(gone))
    assert run.find_path("base") == "base"


def test_absolute_paths_need_no_record(run_values: dict[str, Any], tmp_path: Path) -> None:
    run = Run.create(str(tmp_path), parse_settings(TrainSettings, run_values, "test"))
    assert [path.name for path in run.folder.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("content", ["{", "[]", '{"base": 5}', "9" * 5000])
def test_a_damaged_record(tmp_path: Path, content: str) -> None:
    (tmp_path / paths.RECORD_NAME).write_text(content)
    with pytest.raises(UserError, match=r"paths\.json is (damaged|not valid JSON): .*Delete it"):
        find_path("base", tmp_path)


def test_a_link_that_leads_to_itself_is_not_called_missing(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    finders: tuple[Callable[[Any], object], ...] = (probe, open_checkpoint, open_folder, find_base)
    for find in finders:
        with pytest.raises(UserError, match="loop cannot be opened: Too many levels of symbolic"):
            find(str(loop) if find is find_base else loop)


def test_a_link_that_leads_nowhere_is_no_base_and_no_hub_id(tmp_path: Path) -> None:
    (tmp_path / "base").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="base: there is no such base model folder"):
        find_base(str(tmp_path / "base"))
