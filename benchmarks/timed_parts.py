"""Run the parts of a long measurement, each in a process of its own and under a time limit of its own.

What a part has found is told as soon as it is there: one that runs out of memory, hangs or fails loses what
it was at and nothing else.
"""

import multiprocessing
import os
import pkgutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from motionmatcher.command_line import last_words

# What is kept of all that a failed part said.
LOG_BYTES = 4000
WAITING, RUNNING, DONE, FAILED, STOPPED, LEFT_OUT = (
    "waiting",
    "running",
    "done",
    "failed",
    "stopped",
    "left out",
)


@dataclass(frozen=True)
class Part:
    """A part of a measurement.

    Attributes:
        name: As on the command line.
        function: "module:function"; calls its argument `tell` with what it finds, each a dictionary.
        limit_s: Seconds it may take.
        options: What the function takes, beside what all take.
        beside: It needs none of what is measured, and runs beside the others.
    """

    name: str
    function: str
    limit_s: float
    options: Mapping[str, Any] = field(default_factory=dict)
    beside: bool = False


@dataclass
class PartResult:
    """How far a part has come.

    Attributes:
        state: WAITING, RUNNING, DONE, FAILED, STOPPED for its time was over, or LEFT_OUT.
        seconds: It has taken.
        found: What it has found so far.
        reason: Why not all was found; None when it was.
        log: The end of what it said, when it failed or was stopped.
    """

    state: str = WAITING
    seconds: float = 0.0
    found: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    log: str | None = None


class _Running:
    """A part that runs.

    Args:
        part: Which one.
        result: Is kept up to date.
        options: What all parts' functions take.
        latest_end: When all must be over, by the monotonic clock.
        context: How processes are started.
    """

    def __init__(
        self,
        part: Part,
        result: PartResult,
        options: Mapping[str, Any],
        latest_end: float,
        context: BaseContext,
    ) -> None:
        self.part, self.result = part, result
        self.begin = time.monotonic()
        self.end = min(self.begin + part.limit_s, latest_end)
        handle, name = tempfile.mkstemp(prefix="part-", suffix=".log")
        os.close(handle)
        self.log = Path(name)
        self.receiver, sender = context.Pipe(duplex=False)
        made: Any = context
        self.process: BaseProcess = made.Process(
            target=_find, args=(part.function, {**options, **part.options}, sender, name)
        )
        self.process.start()
        sender.close()
        result.state = RUNNING

    def take(self) -> bool:
        """Take what it has found since; tells whether that is anything."""
        before = len(self.result.found)
        try:
            while not self.receiver.closed and self.receiver.poll():
                self.result.found.append(self.receiver.recv())
        except (EOFError, OSError):  # it has ended, maybe within what it told
            self.receiver.close()
        return len(self.result.found) > before

    def finish(self) -> None:
        """End it, if it has not ended, and say how it went."""
        ended = not self.process.is_alive()
        self.kill()
        self.take()
        result, code = self.result, self.process.exitcode
        result.seconds = time.monotonic() - self.begin
        printed = self.log.read_bytes()
        self.log.unlink()
        if not ended:
            result.state = STOPPED
            result.reason = f"stopped after {self.end - self.begin:.0f} s, its time"
        elif code:
            result.state = FAILED
            result.reason = (
                f"ended by {signal.Signals(-code).name}" if code < 0 else last_words(printed)
            )
        else:
            result.state = DONE
            return
        result.log = printed[-LOG_BYTES:].decode(errors="replace")

    def kill(self) -> None:
        """Kill it, and whatever it has started."""
        pid = self.process.pid
        assert pid is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def run_parts(
    parts: Sequence[Part],
    options: Mapping[str, Any],
    seconds: float,
    on_change: Callable[[Mapping[str, PartResult]], None],
    start_method: str = "spawn",
) -> dict[str, PartResult]:
    """Run parts one after the other, and those that run beside them at the same time.

    Args:
        parts: In the order in which they begin.
        options: What all their functions take.
        seconds: All may take; what has not begun by then is left out.
        on_change: Called with all results at each change.
        start_method: Of multiprocessing, for their processes.

    Returns:
        The results by name.
    """
    context = multiprocessing.get_context(start_method)
    # Imported once for all processes, where they are forked.
    context.set_forkserver_preload(sorted({part.function.partition(":")[0] for part in parts}))
    end = time.monotonic() + seconds
    results = {part.name: PartResult() for part in parts}
    waiting, running = list(parts), list[_Running]()
    try:
        while waiting or running:
            changed = False
            while waiting and (waiting[0].beside or all(each.part.beside for each in running)):
                part = waiting.pop(0)
                if time.monotonic() < end:
                    running.append(_Running(part, results[part.name], options, end, context))
                else:
                    results[part.name].state = LEFT_OUT
                    results[part.name].reason = f"all {seconds:.0f} s were over before it began"
                changed = True
            if changed:
                on_change(results)
            if running:
                _wait_for_change(running)
            for each in list(running):
                changed = each.take()
                if not each.process.is_alive() or time.monotonic() >= each.end:
                    each.finish()
                    running.remove(each)
                    changed = True
                if changed:
                    on_change(results)
    finally:
        for each in running:
            each.kill()
            each.log.unlink()
    return results


def _wait_for_change(running: Sequence[_Running]) -> None:
    """Wait until a part finds something or ends, or its time is over."""
    handles: list[Any] = [each.process.sentinel for each in running]
    handles += [each.receiver for each in running if not each.receiver.closed]
    wait(handles, max(0.0, min(each.end for each in running) - time.monotonic()))


def _find(function: str, options: dict[str, Any], sender: Connection, log: str) -> None:
    """Run a part in this process, which is its own."""
    os.setsid()  # so that what it starts can be ended with it
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    find: Callable[..., None] = pkgutil.resolve_name(function)
    find(tell=sender.send, **options)
