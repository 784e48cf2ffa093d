"""The window's folders, the runs it finds, one job at a time."""

import os
from pathlib import Path

import pytest
from launching import PROJECT

from motionmatcher.app.job import Command, Job
from motionmatcher.app.workshop import Workshop, list_configs
from motionmatcher.errors import UserError


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "outputs")


def make_run(folder: Path, changed_s: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    os.utime(folder / "config.yaml", (changed_s, changed_s))
    return folder


def sleep(folder: Path) -> Command:
    (folder / "train.py").write_text(
        "import time; print('run folder: out/train_1'); time.sleep(60)"
    )
    return Command(str(folder / "train.py"), ())


def test_a_clip_is_kept_once_under_a_name_that_is_none_of_a_folder(
    workshop: Workshop, tmp_path: Path
) -> None:
    upload = tmp_path / "My .. Clip (1).MP4"
    upload.write_bytes(b"content")
    kept = workshop.keep_clip(upload)
    assert kept == tmp_path / "outputs" / "app" / "clips" / "my-clip-1.mp4"
    assert kept.read_bytes() == b"content"
    assert workshop.keep_clip(upload) == kept
    upload.write_bytes(b"another")
    assert workshop.keep_clip(upload).name == "my-clip-1-2.mp4"
    assert kept.read_bytes() == b"content"


def test_a_name_of_no_letters_is_kept_too(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "$(..).weird suffix").write_bytes(b"")
    assert workshop.keep_clip(tmp_path / "$(..).weird suffix").name == "prompt"


def test_runs_are_found_wherever_they_were_begun_the_newest_first(workshop: Workshop) -> None:
    outputs = workshop.outputs
    older = make_run(outputs / "train" / "bear" / "train_1", 100)
    newer = make_run(outputs / "app" / "runs" / "swing" / "train_2", 200)
    (outputs / "train" / "train_3").mkdir()  # without settings
    make_run(older / "set-aside-after-1" / "train_4", 300)  # within a run
    runs = workshop.runs()
    assert [run.folder for run in runs] == [newer, older]
    assert workshop.name_of(runs[1]) == "train/bear/train_1"
    assert workshop.videos_folder(runs[1]) == outputs / "app" / "videos" / "train-bear-train-1"


def test_one_job_at_a_time(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing runs, so there is nothing to stop"):
        workshop.stop()
    job = workshop.start("training", [sleep(tmp_path)])
    try:
        assert workshop.is_busy
        with pytest.raises(UserError, match="training still runs: wait for its end, or stop it"):
            workshop.start("generating", [sleep(tmp_path)])
        assert workshop.job is job
    finally:
        workshop.close()
    assert not job.is_running
    assert job.is_stopped


def test_the_run_of_a_training_is_the_one_it_names(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.run_of_job() is None
    log = tmp_path / "log.txt"
    workshop.job = Job("training", [], log)
    workshop.job.commands = [Command("train.py", ())]
    assert workshop.run_of_job() is None
    log.write_text("note: x\nrun folder: outputs/a b/train_1\ntraining: 1/2\n")
    run = workshop.run_of_job()
    assert run is not None
    assert run.folder == Path("outputs/a b/train_1")
    workshop.job.commands = [Command("inference.py", ())]
    assert workshop.run_of_job() is None


def test_settings_that_ship_are_offered_after_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    configs = list_configs(Path("configs/moving_shapes_wan.yaml"))
    assert configs[0] == Path("configs/moving_shapes_wan.yaml")
    assert configs.count(configs[0]) == 1
    assert Path("configs/moving_shapes/config_spiral.yaml") in configs
    assert Path("configs/all_settings.yaml") not in configs
    monkeypatch.chdir(tmp_path)
    assert list_configs(tmp_path / "own.yaml")[1].is_absolute()
