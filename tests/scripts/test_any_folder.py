"""The programs run from any folder: what ships is found beside the code."""

from pathlib import Path

import pytest
from launching import run_script

import train
from experiments import demo
from experiments.compare import __main__ as compare
from experiments.paper_table import __main__ as paper_table
from motionmatcher.cost.step import FakeStep, StepCost
from motionmatcher.paths import PROJECT, input_path, shipped
from testbed import score


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the programs run, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_read_is_looked_for_here_and_then_in_the_project(elsewhere: Path) -> None:
    assert input_path("configs/demo.yaml") == PROJECT / "configs/demo.yaml"
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs/demo.yaml").touch()
    assert input_path("configs/demo.yaml") == Path("configs/demo.yaml")
    assert input_path("gone.yaml") == Path("gone.yaml")


def test_what_ships_is_never_taken_from_where_the_command_runs(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "train.py").touch()
    assert shipped("train.py") == PROJECT / "train.py"
    monkeypatch.chdir(PROJECT)
    assert shipped("train.py") == Path("train.py")


def test_training_on_a_shipped_config(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = "configs/moving_shapes/config_spiral.yaml"
    # Counting a step takes seconds.
    monkeypatch.setattr(FakeStep, "cost", lambda step: StepCost(1, {"weights": 1}, 1))
    assert run_script(monkeypatch, train.main, "--config", config, "--dry-run") == 0
    assert "all checks passed" in capsys.readouterr().out
    assert not list(elsewhere.iterdir())


def test_the_comparison_plans_its_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(monkeypatch, compare.main, "--quick", "--dry-run") == 0
    assert "hours left" in capsys.readouterr().out


def test_the_table_of_shipped_configs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = ("--configs", "configs/moving_shapes/config_spiral.yaml")
    assert run_script(monkeypatch, paper_table.main, *configs, "--dry-run") == 0
    assert "spiral: train 150 steps, generate 10 videos" in capsys.readouterr().out


def test_the_demo_runs_the_programs_beside_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ran(Exception):
        pass

    def first_program(program: Path, *words: object) -> None:
        assert program == PROJECT / "train.py"
        assert words[:2] == ("--config", PROJECT / "configs/demo.yaml")
        raise Ran

    monkeypatch.setattr(demo, "_program", first_program)
    with pytest.raises(Ran):
        run_script(monkeypatch, demo.main)


def test_the_base_that_ships_is_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--num_prompts", "2", "--num_frames", "1", "--num_steps", "1")
    assert run_script(monkeypatch, score.main, *few) == 0
    assert f"{PROJECT / 'models/moving_shapes'}, fingerprint" in capsys.readouterr().out
