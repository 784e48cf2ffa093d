"""Run tests on a copy of the project, with a mutant in it or none."""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mutation.mutant import Mutant

# Not that of `launching`, whose imports of the project every process here would share with its tests.
PROJECT = Path(__file__).parents[2]
# What the tests need of the project.
PACKAGES = ("motionmatcher", "evaluation", "testbed", "experiments", "benchmarks")
COPIED = (*PACKAGES, "tests", "configs", "pyproject.toml")
TIME_LIMIT = 300  # seconds; a mutant may loop for ever
# Added to pytest's own, to tell it from that of a process that never came so far.
EXIT_CODE = 64
PASSED, FAILED = EXIT_CODE, EXIT_CODE + 1
# Forks processes that have imported what takes seconds to import, and nothing of the project.
SERVER = multiprocessing.get_context("forkserver")
SLOW_IMPORTS = [
    "pytest",
    "torch",
    "av",
    "peft",
    "diffusers.loaders.peft",
    "diffusers.models.unets",
    "diffusers.optimization",
    "diffusers.schedulers.scheduling_dpmsolver_multistep",
    "transformers.models.clip.modeling_clip",
    "torch.utils.flop_counter",
    "torch.utils.tensorboard",
]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_CBWR": "AUTO,STRICT",  # the tests set it themselves, but too late here
    "HF_HUB_OFFLINE": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}


@dataclass(frozen=True)
class Outcome:
    """How a run of tests ended.

    Attributes:
        verdict: "passed", "failed", or "broken" when the tests could not run.
        seconds: How long it took.
        output: What pytest printed.
    """

    verdict: str
    seconds: float
    output: str


def prepare() -> None:
    """Set the environment of the processes that run tests; to be called first."""
    os.environ.update(ENVIRONMENT)
    SERVER.set_forkserver_preload(SLOW_IMPORTS)


def run_unchanged(tests: Sequence[str]) -> Outcome:
    """Run tests on a copy of the project."""
    with copy_of_project() as copy:
        return run_tests(copy, tests)


def run_mutant(mutant: Mutant) -> Outcome:
    """Run a mutant's tests on a copy of the project that has it."""
    with copy_of_project() as copy:
        try:
            mutant.apply(copy)
        except LookupError as error:
            return Outcome("broken", 0.0, str(error))
        return run_tests(copy, mutant.tests)


@contextmanager
def copy_of_project() -> Iterator[Path]:
    """Copy what the tests need to a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        for name in COPIED:
            found = PROJECT / name
            if found.is_dir():
                shutil.copytree(found, Path(folder, name))
            else:
                shutil.copy(found, folder)
        yield Path(folder)


def run_tests(root: Path, tests: Sequence[str]) -> Outcome:
    """Run tests until the first one fails, in a process of their own."""
    started = time.monotonic()
    output = root / "output.txt"
    process = SERVER.Process(target=run_pytest, args=(root, tests, output))
    process.start()
    process.join(TIME_LIMIT)
    process.kill()
    process.join()
    # Tests that run past the limit are killed, and so is the mutant.
    verdicts = {PASSED: "passed", FAILED: "failed", -signal.SIGKILL: "failed"}
    return Outcome(
        "broken" if process.exitcode is None else verdicts.get(process.exitcode, "broken"),
        time.monotonic() - started,
        output.read_text(encoding="utf-8", errors="replace") if output.is_file() else "",
    )


def run_pytest(root: Path, tests: Sequence[str], output: Path) -> None:
    """Be the process that runs tests."""
    with output.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.chdir(root)
    # What has been imported makes a collection of garbage take long.
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
    options += ["--basetemp", str(root / "temporary")]
    sys.exit(EXIT_CODE + pytest.main([*options, *tests]))
