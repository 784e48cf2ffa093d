"""Worker processes, the folder they share, and how long they take."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT

from experiments.comparison.workers import exclusive, seconds_per_step, worker_pool
from motionmatcher.errors import UserError


def test_two_comparisons_do_not_share_a_folder(tmp_path: Path) -> None:
    abandoned = tmp_path / ".training-of-a-killed-run"
    abandoned.mkdir()
    with exclusive(tmp_path):
        assert not abandoned.exists()
        with (
            pytest.raises(UserError, match="another comparison is running there"),
            exclusive(tmp_path),
        ):
            pass
    with exclusive(tmp_path):
        pass


def test_workers_end_with_a_parent_that_is_killed() -> None:
    program = """
import os, signal
from experiments.comparison.workers import worker_pool
with worker_pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    worker = int(parent.stdout)
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} is still there")


def test_workers_compute_and_end_with_an_interruption() -> None:
    def work_until_interrupted() -> None:
        with worker_pool(1) as pool:
            assert pool.submit(math.sqrt, 16).result() == 4
            pool.submit(time.sleep, 600)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_until_interrupted()
    assert multiprocessing.active_children() == []


def test_seconds_a_step_are_the_median_of_trainings_that_ended() -> None:
    def result(method: str, seconds: float, diverged: str | None = None) -> dict[str, Any]:
        cell = {"method": method, "steps": [50, 100]}
        return {"cell": cell, "training_seconds": seconds, "diverged": diverged}

    results = [result("vmc", seconds) for seconds in (40.0, 50.0, 900.0)]
    results += [result("vmc", 1.0, "the loss is nan"), result("denoising", 1.0, "the loss is nan")]
    assert seconds_per_step(results, "vmc") == 0.5
    assert math.isnan(seconds_per_step(results, "denoising"))
