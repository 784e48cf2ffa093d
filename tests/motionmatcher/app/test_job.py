"""Programs in processes of their own: their end, their last words, stopping them."""

import time
from pathlib import Path

import pytest

from motionmatcher.app.job import Command, Job


def program(folder: Path, name: str, source: str) -> Command:
    """A program that is not the project's: an absolute path stays one."""
    file = folder / name
    file.write_text(source)
    return Command(str(file), ())


def run(folder: Path, *commands: Command) -> Job:
    job = Job("working", commands, folder / "logs" / "log.txt")
    job.wait(60)
    assert not job.is_running
    return job


def wait_for(job: Job, text: str) -> None:
    end = time.monotonic() + 60
    while not any(text in line for line in job.lines()):
        assert time.monotonic() < end, job.lines()
        time.sleep(0.02)


def test_commands_run_one_after_the_other(tmp_path: Path) -> None:
    first, second = (program(tmp_path, f"{name}.py", f"print('{name}!')") for name in "ab")
    job = run(tmp_path, first, second)
    assert job.error is None
    said = [line for line in job.lines() if not line.startswith("$")]
    assert said == ["a!", "b!"]
    assert job.lines()[0] == f"$ python {tmp_path}/a.py"


def test_one_that_fails_says_why_and_ends_the_job(tmp_path: Path) -> None:
    refused = program(
        tmp_path,
        "refused.py",
        "import sys; print('error: no such clip.', file=sys.stderr); print('more'); sys.exit(2)",
    )
    job = run(tmp_path, refused, program(tmp_path, "later.py", "print('later')"))
    assert job.error == "no such clip."
    assert "later" not in job.lines()


def test_a_crash_is_its_last_line(tmp_path: Path) -> None:
    assert run(tmp_path, program(tmp_path, "a.py", "1 / 0")).error == (
        "ZeroDivisionError: division by zero"
    )


def test_one_that_is_killed_says_by_what(tmp_path: Path) -> None:
    source = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run(tmp_path, program(tmp_path, "a.py", source)).error == (
        f"{tmp_path}/a.py was ended by SIGKILL."
    )


SAVES_FIRST = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit({code})
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("code", [130, 143])
def test_stopping_lets_it_save_and_leaves_out_what_comes_later(tmp_path: Path, code: int) -> None:
    commands = [
        program(tmp_path, "a.py", SAVES_FIRST.format(code=code)),
        program(tmp_path, "b.py", "print('later')"),
    ]
    job = Job("working", commands, tmp_path / "log.txt")
    wait_for(job, "begun")
    assert job.is_running
    job.stop()
    job.wait(60)
    assert (job.is_stopped, job.error) == (True, None)
    assert "saved" in job.lines()
    assert "later" not in job.lines()


def test_one_that_fails_while_it_is_stopped_has_failed(tmp_path: Path) -> None:
    job = Job(
        "working", [program(tmp_path, "a.py", SAVES_FIRST.format(code=2))], tmp_path / "log.txt"
    )
    wait_for(job, "begun")
    job.stop()
    job.wait(60)
    assert job.error == "saved"


def test_ctrl_c_in_the_windows_terminal_does_not_reach_it(tmp_path: Path) -> None:
    source = "import os; print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid())"
    assert run(tmp_path, program(tmp_path, "a.py", source)).lines()[-1] == "True True"


def test_of_a_progress_bar_the_last_state_is_shown(tmp_path: Path) -> None:
    source = r"print('\r 1/3\r 2/3\r 3/3', end=''); print('\nend\r')"
    assert run(tmp_path, program(tmp_path, "a.py", source)).lines()[1:] == [" 3/3", "end"]
