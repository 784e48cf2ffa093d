"""Programs in processes of their own that can be killed, disturbed, run side by side and together.

They are forked from one process that has imported everything, so that a start takes no seconds.
"""

import gc
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Called in the new process before the program's main function.
Disturbance = Callable[[], None]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "motionmatcher.training.assembly",
        "motionmatcher.generation.generate",
        # What these import only when it is needed.
        "av",
        "diffusers.optimization",
        "omegaconf",
        "torch.utils.tensorboard",
    ]
)
_FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir")


@dataclass
class Program:
    """A script that runs in a process of its own.

    Attributes:
        process: The process.
        log: Gets what it prints.
    """

    process: BaseProcess
    log: Path

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = 300) -> int:
        """Wait for its end; gives the exit code, negative for a signal that killed it."""
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"still running after {timeout_s:g} s:\n{self.output}")
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill_after(self, seconds: float) -> int:
        """Let it run for a while, then kill it; gives the exit code as `wait` does."""
        self.process.join(seconds)
        self.kill()
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait_for(self, path: Path, timeout_s: float = 120) -> None:
        """Wait until a file is there."""
        end = time.monotonic() + timeout_s
        while not path.exists():
            assert self.process.is_alive(), self.output
            assert time.monotonic() < end, f"{path} did not come:\n{self.output}"
            time.sleep(0.02)


def start(
    log: Path, script: str, *arguments: Any, disturbances: Sequence[Disturbance] = ()
) -> Program:
    """Start a script's main function as its command line does.

    Args:
        log: Gets stdout and stderr, after what it holds.
        script: The script's module, e.g. "train".
        arguments: Its command line.
        disturbances: What is done to the process before it begins; must be picklable.
    """
    command = [f"{script}.py", *map(str, arguments)]
    process = _FORKS.Process(target=_main, args=(log, script, command, list(disturbances)))
    process.start()
    return Program(process, log)


def launch(
    num_processes: int,
    folder: Path,
    script: str,
    *arguments: Any,
    disturbances: Sequence[Disturbance] = (),
) -> None:
    """Run a script in several processes on the CPU that find each other; fails with their output.

    `accelerate launch` starts several processes on accelerators only. The script sees the same.

    Args:
        num_processes: How many.
        folder: Gets a log of each.
        script: The script's module.
        arguments: Its command line.
        disturbances: As of `start`, to each.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    programs = [
        start(
            folder / f"process-{rank}.log",
            script,
            *arguments,
            disturbances=[_Join(rank, num_processes, port), *disturbances],
        )
        for rank in range(num_processes)
    ]
    codes = [program.wait() for program in programs]
    assert codes == [0] * num_processes, "\n".join(program.output for program in programs)


def barrier(parties: int) -> Any:
    """Make a barrier that processes can share; see `WaitForAll`."""
    return _FORKS.Barrier(parties)


def start_call(log: Path, function: Callable[..., Any], *arguments: Any) -> Program:
    """Start any function that can be pickled."""
    process = _FORKS.Process(target=_call, args=(log, function, arguments))
    process.start()
    return Program(process, log)


def start_fork_server() -> None:
    """Start the process that the others are forked from, and wait until it has imported all.

    There is one in a process of pytest, and whoever starts it says what it imports.
    """
    first = _FORKS.Process(target=int)
    first.start()
    first.join()


def _main(log: Path, script: str, command: list[str], disturbances: list[Disturbance]) -> None:
    from motionmatcher.command_line import run

    _begin(log)
    for disturb in disturbances:
        disturb()
    sys.argv = command
    run(importlib.import_module(script).main)


def _call(log: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _begin(log)
    function(*arguments)


def _begin(log: Path) -> None:
    """Print into the log; what has been imported need not be searched for garbage, and so copied."""
    gc.freeze()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(handle, stream)


def on_file_operations(act: Callable[[str, str], None], below: Path) -> None:
    """Call a function before every operation that changes a file or folder below one.

    Args:
        act: Gets the operation's name and the path.
        below: Operations elsewhere are let be.
    """
    prefix = f"{below.resolve()}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _FILE_OPERATIONS or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not _writes(*arguments[1:]):
            return
        # Not by pathlib, which opens files to resolve a path.
        name = os.fsdecode(arguments[0])
        if event in ("os.remove", "os.rmdir") and arguments[1] != -1:  # as shutil.rmtree calls them
            name = str(Path(f"/proc/self/fd/{arguments[1]}").readlink() / name)
        path = os.path.abspath(name)  # noqa: PTH100
        if path.startswith(prefix):
            act(event, path)

    sys.addaudithook(hook)


def _writes(mode: str | None, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


@dataclass(frozen=True)
class CountFileOperations:
    """Writes a line for every file operation below a folder whose path has a text in it."""

    below: Path
    trace: Path
    having: str = ""

    def __call__(self) -> None:
        handle = os.open(self.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

        def note(event: str, path: str) -> None:
            if self.having in path:
                os.write(handle, f"{event} {path}\n".encode())

        on_file_operations(note, self.below)


@dataclass(frozen=True)
class KillAtFileOperation:
    """Kills the process just before one of the file operations that `CountFileOperations` counts."""

    below: Path
    number: int
    having: str = ""

    def __call__(self) -> None:
        seen = 0

        def count(event: str, path: str) -> None:
            nonlocal seen
            seen += self.having in path
            if seen == self.number:
                os.kill(os.getpid(), signal.SIGKILL)

        on_file_operations(count, self.below)


@dataclass(frozen=True)
class SlowFiles:
    """Waits before every file operation: what lies between looking and taking becomes long."""

    below: Path
    seconds: float = 0.05

    def __call__(self) -> None:
        on_file_operations(lambda event, path: time.sleep(self.seconds), self.below)


@dataclass(frozen=True)
class WriteTensorsInPieces:
    """Makes each file of tensors grow slowly: so many operations, with a pause between them."""

    pieces: int = 6
    seconds: float = 0.02

    def __call__(self) -> None:
        write_at_once = Path.write_bytes

        def write(path: Path, content: bytes) -> int:
            if path.suffix != ".safetensors":
                return write_at_once(path, content)
            size = -(-len(content) // self.pieces)
            for begin in range(0, len(content), size):
                time.sleep(self.seconds)
                with path.open("ab") as file:
                    file.write(content[begin : begin + size])
            return len(content)

        Path.write_bytes = write  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class _Join:
    """Makes the process one of several, as torchrun tells them."""

    rank: int
    count: int
    port: int

    def __call__(self) -> None:
        os.environ |= {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.rank),
            "WORLD_SIZE": str(self.count),
            "LOCAL_WORLD_SIZE": str(self.count),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(self.port),
        }


@dataclass(frozen=True)
class Replace:
    """Puts something else in the place of a name with dots."""

    target: str
    value: Any

    def __call__(self) -> None:
        module, _, name = self.target.rpartition(".")
        setattr(importlib.import_module(module), name, self.value)


@dataclass(frozen=True)
class Hold:
    """Makes one call of a function last; a file says that it has begun."""

    module: str
    function: str
    number: int
    seconds: float
    begun: Path

    def __call__(self) -> None:
        module = importlib.import_module(self.module)
        compute = getattr(module, self.function)
        calls = 0

        def hold(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.number:
                self.begun.touch()
                time.sleep(self.seconds)
            return compute(*arguments, **named)

        setattr(module, self.function, hold)


@dataclass(frozen=True)
class StandStill:
    """Stops the clock that names runs."""

    time: str = "2026-01-01T00-00-00"

    def __call__(self) -> None:
        from motionmatcher.runs import run_folder

        clock = SimpleNamespace(strftime=lambda pattern: pattern[: pattern.index("%")] + self.time)
        vars(run_folder)["time"] = clock


@dataclass(frozen=True)
class WaitForAll:
    """Lets a process begin only when all have come so far."""

    barrier: Any

    def __call__(self) -> None:
        self.barrier.wait(120)
