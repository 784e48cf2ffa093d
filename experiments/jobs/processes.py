"""Which share of the jobs a process of a launch has, and how it runs train.py and inference.py for it.

Each job runs programs of its own, in one process on one device, whatever started the jobs: accelerate's
state belongs to a process, and a program gives all memory back.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionmatcher.command_line import last_words
from motionmatcher.errors import UserError

if TYPE_CHECKING:
    import torch

# What torchrun and `accelerate launch` tell their processes.
LAUNCH_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "FORK_LAUNCHED")
LAUNCH_PREFIXES = ("ACCELERATE_", "GROUP_", "MASTER_", "ROLE_", "TORCHELASTIC_")
# Processes wait for each other's trainings, which may take days.
PATIENCE = timedelta(weeks=4)
CHUNK_BYTES = 1 << 16
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Processes:
    """This process among those of the launch.

    Attributes:
        index: Its number; 0 is the main process.
        count: Number of processes.
        local_index: Its number on this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes the results."""
        return self.index == 0

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        """Give the items that are this process's to do."""
        return items[self.index :: self.count]

    def gather(self, item: Any) -> list[Any]:
        """Wait for all processes; the main one gets one item of each, the others nothing."""
        if self.count == 1:
            return [item]
        import torch.distributed as distributed

        gathered = [None] * self.count if self.is_main else None
        distributed.gather_object(item, gathered)
        return gathered or []


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Meet the other processes of the launch; alone when there was none."""
    if "WORLD_SIZE" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        yield Processes()
        return
    import torch.distributed as distributed

    # Between processes goes text only, so that no GPU is taken up by it.
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Processes(
            distributed.get_rank(), distributed.get_world_size(), int(os.environ["LOCAL_RANK"])
        )
    finally:
        distributed.destroy_process_group()


def child_environment(processes: Processes, device: "torch.device") -> dict[str, str]:
    """Make the environment of a program that runs as a single process on this process's device.

    Args:
        processes: This process; of several, each takes the GPU of its local index.
        device: What `--device` chose.

    Raises:
        UserError: Several processes shall share one numbered device.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in LAUNCH_VARIABLES and not name.startswith(LAUNCH_PREFIXES)
    }
    environment["PYTHONUNBUFFERED"] = "1"
    if processes.count > 1 and ":" in str(device):
        raise UserError(
            f"--device {device} names one device for {processes.count} processes: use "
            "--device cuda, and each process takes its own."
        )
    if processes.count > 1 and device.type == "cuda":
        gpus = visible_gpus()
        environment[VISIBLE_GPUS] = gpus[processes.local_index % len(gpus)]
    return environment


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE_GPUS in os.environ:
        return os.environ[VISIBLE_GPUS].split(",")
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def run_program(
    script: Path, arguments: Sequence[str], environment: Mapping[str, str], log: Path, show: bool
) -> None:
    """Run a Python program to its end.

    Ctrl-C and SIGTERM are passed on, so that a training saves a checkpoint first.

    Args:
        script: The program.
        arguments: Its command line.
        environment: Its environment.
        log: Gets what it prints, after what is there.
        show: Also print that here, for its progress bars.

    Raises:
        UserError: It failed; says with which last line.
        KeyboardInterrupt: It was interrupted.
    """
    command = [sys.executable, str(script), *arguments]
    printed = b""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"\n$ {shlex.join(command)}\n".encode())
        # A session of its own: signals reach it through us alone, and so once.
        with (
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            ) as process,
            passing_on_signals(process) as interrupted,
        ):
            assert process.stdout is not None
            while chunk := process.stdout.read(CHUNK_BYTES):
                file.write(chunk)
                file.flush()
                printed = (printed + chunk)[-CHUNK_BYTES:]
                if show:
                    sys.stdout.write(chunk.decode(errors="replace"))
                    sys.stdout.flush()
    if (number := interrupted()) is not None:
        signal.raise_signal(number)
    if process.returncode != 0:
        raise UserError(f"{script.name} failed: {last_words(printed)} (all it said: {log})")


@contextmanager
def passing_on_signals(process: subprocess.Popen) -> Iterator[Callable[[], int | None]]:
    """Pass Ctrl-C and SIGTERM on to a program while it runs.

    Yields:
        A function that tells which signal has come, if any.
    """
    came: int | None = None

    def pass_on(number: int, frame: object) -> None:
        nonlocal came
        came = number
        process.send_signal(number)

    found = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
