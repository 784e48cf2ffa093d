"""Run the project's programs inside a test, in its process; in others: see `processes`."""

import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import inference
import train
from motionmatcher.command_line import run
from motionmatcher.config.loading import load_settings
from motionmatcher.cost.step import FakeStep, StepCost
from motionmatcher.devices import choose_device
from motionmatcher.objectives.objective import Objective
from motionmatcher.runs.run_folder import Run, find_resumable
from motionmatcher.training.assembly import start_training
from motionmatcher.training.checks import check_training
from motionmatcher.training.resuming import plan_resuming
from testbed.random_base import main as random_base

PROJECT = Path(__file__).parents[1]


def train_in_process(config: Path, *overrides: str, objective: Objective | None = None) -> Run:
    """Train a new run as train.py does, or with an objective of the test's own."""
    plan = check_training(load_settings(config, overrides), objective=objective)
    return start_training(plan, choose_device("cpu"))


def resume_in_process(folder: Path, *overrides: str, objective: Objective | None = None) -> Run:
    """Continue a run as `train.py --resume` does, or with an objective of the test's own."""
    resume = find_resumable(str(folder), output_dir="")
    plan = plan_resuming(resume, overrides, objective=objective)
    return start_training(plan, choose_device("cpu"))


def dry_run_at_full_size(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    kind: str,
    config: str,
    train_data: dict[str, Any],
) -> dict[str, Any]:
    """Dry-run a shipped config on the configs of a base of the real size, and give its JSON.

    The step's cost is made up: counting one of this size takes a while.

    Args:
        monkeypatch: Of the test.
        folder: Gets the base, config and JSON.
        kind: Of `testbed.random_base`.
        config: Name of a file in `configs/`.
        train_data: The clip.
    """
    how = ["--kind", kind, "--full-size", "--configs-only"]
    monkeypatch.setattr(sys, "argv", ["random_base", str(folder / "base"), *how])
    random_base()
    values = {"base": str(PROJECT / "configs" / config), "train_data": train_data}
    counted = StepCost(flops=10**13, parts={"weights": 2**30}, activations=2**28)
    monkeypatch.setattr(FakeStep, "cost", lambda step: counted)
    arguments = ["--config", write_config(folder / "config.yaml", values), "--dry-run"]
    arguments += ["--json", folder / "values.json", "--device", "cpu"]
    override = f"pretrained_model_path={folder / 'base'}"
    assert run_script(monkeypatch, train.main, *arguments, override) in (0, 2)
    found: dict[str, Any] = json.loads((folder / "values.json").read_text())
    return found


@contextmanager
def full_disk(largest_file: int) -> Iterator[None]:
    """Let the system refuse to write more than some bytes into one file, as a full disk does."""
    found = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, found[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, found)


def run_script(monkeypatch: pytest.MonkeyPatch, main: Any, *arguments: object) -> int:
    """Run a script's main function with a command line and return the exit code."""
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        run(main)
    return int(stopped.value.code or 0)


def run_program_here(
    script: Path, arguments: Sequence[str], environment: Mapping[str, str], log: Path, show: bool
) -> None:
    """Stand in for `experiments.jobs.processes.run_program`: where all is imported already."""
    main = {"train.py": train.main, "inference.py": inference.main}[script.name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", environment)
        assert run_script(patch, main, *arguments) == 0


def write_config(path: Path, values: dict[str, Any]) -> Path:
    """Write settings as a YAML file (JSON is YAML)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")
    return path
