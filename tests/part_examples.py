"""Parts of a measurement that go well, fail, hang or are killed; `benchmarks.timed_parts` runs them."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tell = Callable[[dict[str, Any]], None]


def squares(tell: Tell, count: int, **_: Any) -> None:
    for number in range(count):
        tell({"square": number**2})


def failing(tell: Tell, **_: Any) -> None:
    tell({"square": 0})
    print("a line before")
    raise RuntimeError("the fan stands still")


def hanging(tell: Tell, pids: str, **_: Any) -> None:
    """Start a process of its own, tell both ids and hang."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path(pids).write_text(f"{os.getpid()} {helper.pid}")
    tell({"square": 1})
    time.sleep(300)


def killed(tell: Tell, **_: Any) -> None:
    tell({"square": 4})
    os.kill(os.getpid(), signal.SIGKILL)


def cut_short(tell: Tell, **_: Any) -> None:
    """Tell something, and be killed within the next thing."""
    tell({"square": 9})
    pipe: Any = tell
    os.write(pipe.__self__.fileno(), struct.pack("!i", 1000) + b"begins")
    os.kill(os.getpid(), signal.SIGKILL)


def waiting_for(tell: Tell, path: str, **_: Any) -> None:
    """Wait until a file is there, which another part writes."""
    while not Path(path).exists():
        time.sleep(0.01)
    tell({"seen": path})


def writing(tell: Tell, path: str, **_: Any) -> None:
    Path(path).touch()
    tell({"written": path})
