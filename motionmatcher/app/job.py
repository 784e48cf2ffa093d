"""Programs of the project that run one after the other, each in a process of its own.

So a program that fails takes nothing down with it, and is stopped as on a command line.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motionmatcher.command_line import INTERRUPTED, TERMINATED, last_words
from motionmatcher.paths import PROJECT

# Of what a program prints, the end that is looked at.
TAIL_BYTES = 1 << 14
STOPPED = INTERRUPTED, TERMINATED, -signal.SIGTERM


@dataclass(frozen=True)
class Command:
    """A program and its command line.

    Attributes:
        program: One of the project's, such as "train.py".
        arguments: What follows it.
    """

    program: str
    arguments: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """What the system starts."""
        return [sys.executable, str(PROJECT / self.program), *self.arguments]

    def __str__(self) -> str:
        """The command as it is typed."""
        return shlex.join(["python", self.program, *self.arguments])


class Job:
    """Commands under way; those after one that fails or is stopped are left out.

    Attributes:
        name: What they do, in a word or two.
        commands: One after the other.
        log: Gets what they print.
    """

    def __init__(self, name: str, commands: Sequence[Command], log: Path) -> None:
        """Start them."""
        self.name, self.commands, self.log = name, commands, log
        self._failed: str | None = None
        self._stopped = threading.Event()
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether one of the commands still runs."""
        return self._thread.is_alive()

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped.is_set()

    @property
    def error(self) -> str | None:
        """Why it failed, one line; None as long as it has not."""
        return self._failed

    def stop(self) -> None:
        """Stop as Ctrl-C does: a training finishes its step and saves; a second time, at once."""
        with self._lock:
            self._stopped.set()
            if self._process is not None:
                self._process.terminate()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def lines(self) -> list[str]:
        """The last lines of what was printed; of a progress bar, as it stands."""
        printed = self._tail().decode(errors="replace")
        lines = (line.rpartition("\r")[2] or line for line in printed.split("\n"))
        return [line.rstrip() for line in lines if line.strip()]

    def _tail(self) -> bytes:
        with self.log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            return file.read()

    def _run(self) -> None:
        for command in self.commands:
            with self.log.open("ab") as file:
                file.write(f"$ {command}\n".encode())
                file.flush()
                with self._lock:
                    if self.is_stopped:
                        return
                    # In a session of its own, Ctrl-C in the window's terminal reaches it through us alone.
                    self._process = subprocess.Popen(
                        command.words,
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, "PYTHONUNBUFFERED": "1"},
                        start_new_session=True,
                    )
                code = self._process.wait()
            with self._lock:
                self._process = None
            if code in STOPPED and self._stopped.is_set():
                return
            if code:
                self._failed = self._reason(command, code)
                return

    def _reason(self, command: Command, code: int) -> str:
        if code < 0:
            return f"{command.program} was ended by {signal.Signals(-code).name}."
        return last_words(self._tail())
