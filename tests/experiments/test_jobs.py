"""Resumable jobs: what is missing is run, by this process, its programs or workers."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from launching import PROJECT

from experiments.jobs.processes import Processes, child_environment, run_program
from experiments.jobs.resumable import exclusive, keep_traceback, run_missing
from experiments.jobs.workers import worker_pool
from motionmatcher.command_line import last_words
from motionmatcher.errors import UserError


@dataclass(frozen=True)
class FileJob:
    """Writes a file."""

    file: Path

    def is_done(self) -> bool:
        return self.file.is_file()


def write_file(job: FileJob) -> None:
    if "wrong" in job.file.name:
        raise UserError("the clip is gone")
    if "bug" in job.file.name:
        raise ZeroDivisionError
    job.file.write_text("new")


@pytest.fixture
def jobs(tmp_path: Path) -> list[FileJob]:
    (tmp_path / "done").write_text("old")
    return [FileJob(tmp_path / name) for name in ("wrong", "made", "done")]


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor(1)])
def test_what_is_missing_is_made_and_a_failure_stops_no_other(
    jobs: list[FileJob], tmp_path: Path, pool: ThreadPoolExecutor | None
) -> None:
    ended = {job.file.name: error for job, error in run_missing(jobs, write_file, pool)}
    assert next(iter(ended)) == "done"
    assert str(ended.pop("wrong")) == "the clip is gone"
    assert ended == {"done": None, "made": None}
    assert (tmp_path / "done").read_text() == "old"
    assert (tmp_path / "made").read_text() == "new"


def test_a_bug_is_raised_here_and_kept_of_a_pool(tmp_path: Path) -> None:
    bug = FileJob(tmp_path / "bug")
    with pytest.raises(ZeroDivisionError):
        list(run_missing([bug], write_file))
    with ThreadPoolExecutor(1) as pool:
        ((_, error),) = run_missing([bug], write_file, pool)
    file = tmp_path / "bug.txt"
    keep_traceback(error, file)
    assert "in write_file" in file.read_text()
    keep_traceback(UserError("a line"), file)
    assert not file.exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    abandoned = tmp_path / ".training-of-a-killed-run"
    abandoned.mkdir()
    with exclusive(tmp_path, ".training-"):
        assert not abandoned.exists()
        with (
            pytest.raises(UserError, match="another run works there"),
            exclusive(tmp_path, ".training-"),
        ):
            pass
    with exclusive(tmp_path, ".training-"):
        pass


def test_workers_end_with_a_parent_that_is_killed() -> None:
    program = """
import os, signal
from experiments.jobs.workers import worker_pool
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


def test_a_program_sees_no_launch_and_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-b")
    second = Processes(index=1, count=3, local_index=1)
    environment = child_environment(second, torch.device("cuda"))
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    launch = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "ACCELERATE_USE_CPU"}
    assert launch.isdisjoint(environment)
    assert environment["PATH"] == os.environ["PATH"]

    third = Processes(index=2, count=3, local_index=2)
    assert child_environment(third, torch.device("cuda"))["CUDA_VISIBLE_DEVICES"] == "4"
    alone = child_environment(Processes(), torch.device("cuda:1"))
    assert alone["CUDA_VISIBLE_DEVICES"] == "4,GPU-b"
    with pytest.raises(UserError, match="--device cuda:1 names one device for 3 processes"):
        child_environment(second, torch.device("cuda:1"))


def test_jobs_are_dealt_out_whole() -> None:
    shares = [Processes(index, 3, index).share("abcdefgh") for index in range(3)]
    assert shares == ["adg", "beh", "cf"]


def test_ctrl_c_reaches_the_program_once_and_it_may_finish(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "came = []\n"
        "signal.signal(signal.SIGINT, lambda *_: came.append(1))\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "while not came: time.sleep(0.01)\n"
        "time.sleep(0.2)\n"
        "print('saved', len(came))\n"
        "sys.exit(130)\n"
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_program(script, [], dict(os.environ), tmp_path / "log.txt", show=False)
    assert (tmp_path / "log.txt").read_text().splitlines()[-1] == "saved 1"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (b"step 1\rstep 2\nerror: the clip is gone\n  0%|   | 0/4\r", "the clip is gone"),
        (b"Traceback\n  a line\nRuntimeError: CUDA out of memory\n\n", "RuntimeError: CUDA out of memory"),
        (b"", "it printed nothing"),
    ],
)  # fmt: skip
def test_why_a_program_failed(printed: bytes, reason: str) -> None:
    assert last_words(printed) == reason
