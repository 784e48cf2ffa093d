"""Run those jobs whose output is not there yet; one that fails stops no other."""

import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from motionmatcher.errors import UserError
from motionmatcher.files import write_text


class Job(Protocol):
    """Something to make once."""

    def is_done(self) -> bool:
        """Whether its output is there, whole."""
        ...


_Job = TypeVar("_Job", bound=Job)


def run_missing(
    jobs: Sequence[_Job], run: Callable[[_Job], None], pool: Executor | None = None
) -> Iterator[tuple[_Job, Exception | None]]:
    """Run the jobs that are not done.

    Args:
        jobs: All jobs.
        run: Makes one job's output, whole or not at all.
        pool: Runs several at a time; None: one by one, here, where a bug is raised at once.

    Yields:
        Each job and what went wrong with it, or None: those done already first, the others as they
        end.

    Raises:
        UserError: A process of the pool was killed.
    """
    missing = []
    for job in jobs:
        if job.is_done():
            yield job, None
        else:
            missing.append(job)
    if pool is None:
        for job in missing:
            yield job, _try(run, job)
        return
    futures = {pool.submit(run, job): job for job in missing}
    for future in as_completed(futures):
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a worker was killed, perhaps for want of memory: try fewer --workers; what is "
                "finished is kept, and the same command goes on."
            ) from error
        if error is not None and not isinstance(error, Exception):
            raise error  # an interruption
        yield futures[future], error


def _try(run: Callable[[_Job], None], job: _Job) -> UserError | None:
    try:
        run(job)
    except UserError as error:
        return error
    return None


def keep_traceback(error: Exception | None, file: Path) -> None:
    """Keep where a bug is, for somebody will look for it; other errors say all in their one line.

    Args:
        error: What a job ended with.
        file: Gets the traceback; that of an earlier try is removed.
    """
    file.unlink(missing_ok=True)
    if error is not None and not isinstance(error, UserError):
        write_text(file, "".join(traceback.format_exception(error)))


@contextmanager
def exclusive(folder: Path, scratch_prefix: str) -> Iterator[None]:
    """Hold a folder of outputs, so that no second program makes the same ones.

    Args:
        folder: The folder.
        scratch_prefix: Begins the names of folders that hold a job while it runs; those left behind
            by a kill are removed.

    Raises:
        UserError: Another program holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            for abandoned in folder.glob(f"{scratch_prefix}*"):
                shutil.rmtree(abandoned)
            yield
    except Timeout:
        raise UserError(
            f"{folder}: another run works there; wait for it, or give it more --workers."
        ) from None
