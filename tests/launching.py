"""Run the project's programs inside a test, in its process; in others: see `processes`."""

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from motionmatcher.command_line import run
from motionmatcher.config.loading import load_settings
from motionmatcher.devices import choose_device
from motionmatcher.objectives.objective import Objective
from motionmatcher.runs.run_folder import Run, find_resumable
from motionmatcher.training.assembly import start_training
from motionmatcher.training.checks import check_training
from motionmatcher.training.resuming import plan_resuming

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


def write_config(path: Path, values: dict[str, Any]) -> Path:
    """Write settings as a YAML file (JSON is YAML)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")
    return path
