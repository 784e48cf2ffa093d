"""What the window works in: its folders, the runs it finds there, and the one job under way."""

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from motionmatcher.app.job import Command, Job
from motionmatcher.errors import UserError
from motionmatcher.files import atomic_path, slug, unused_path
from motionmatcher.paths import PROJECT
from motionmatcher.runs.run_folder import Run

_SUFFIX = re.compile(r"\.\w{1,8}", re.ASCII)
_RUN = re.compile(r"train_.*")
RUN_LINE = re.compile(r"^run folder: (.+)$", re.MULTILINE)


@dataclass
class Workshop:
    """The window's folders and its job; all pages that are open share it.

    Attributes:
        outputs: Runs are looked for in here.
        job: What runs or ran last.
    """

    outputs: Path
    job: Job | None = None

    @property
    def folder(self) -> Path:
        """Where all that the window makes goes."""
        return self.outputs / "app"

    @property
    def is_busy(self) -> bool:
        """Whether a job runs."""
        return self.job is not None and self.job.is_running

    def require_idle(self) -> None:
        """Refuse while a job runs.

        Raises:
            UserError: One does.
        """
        if self.job is not None and self.job.is_running:
            raise UserError(f"{self.job.name} still runs: wait for its end, or stop it.")

    def start(self, name: str, commands: Sequence[Command]) -> Job:
        """Start a job.

        Raises:
            UserError: Another one runs: there is one processor to share.
        """
        self.require_idle()
        log = unused_path(self.folder / "logs" / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}.txt")
        self.job = Job(name, commands, log)
        return self.job

    def stop(self) -> None:
        """Stop what runs.

        Raises:
            UserError: Nothing does.
        """
        if self.job is None or not self.job.is_running:
            raise UserError("nothing runs, so there is nothing to stop.")
        self.job.stop()

    def close(self) -> None:
        """Stop what runs, if anything does, and wait until it has saved."""
        if self.job is not None and self.job.is_running:
            self.job.stop()
            self.job.wait()

    def keep_clip(self, upload: Path) -> Path:
        """Copy a clip that was uploaded into the window's folder; the same one again is found there.

        Args:
            upload: Where it is for the moment, under the name that it came with.
        """
        suffix = upload.suffix.lower() if _SUFFIX.fullmatch(upload.suffix) else ""
        wanted = self.folder / "clips" / f"{slug(upload.stem)}{suffix}"
        content = upload.read_bytes()
        for kept in sorted(wanted.parent.glob(f"{wanted.stem}*{suffix}")):
            if kept.is_file() and kept.read_bytes() == content:
                return kept
        path = unused_path(wanted)
        with atomic_path(path) as temporary:
            shutil.copyfile(upload, temporary)
        return path

    def runs(self) -> list[Run]:
        """List the runs that can go on or generate, begun here or by train.py, the newest first."""
        found = [Run(folder) for folder in _run_folders(self.outputs)]
        return sorted(found, key=lambda run: run.config_file.stat().st_mtime, reverse=True)

    def name_of(self, run: Run) -> str:
        """A run's folder, as short as it is clear."""
        return str(run.folder.relative_to(self.outputs))

    def run_of_job(self) -> Run | None:
        """The run that the training under way, or the last one, has made; None before it says so."""
        if self.job is None or self.job.commands[0].program != "train.py":
            return None
        found = RUN_LINE.findall(self.job.log.read_text(encoding="utf-8", errors="replace"))
        return Run(Path(found[-1])) if found else None

    def videos_folder(self, run: Run) -> Path:
        """Where the window puts what it generates from a run."""
        return self.folder / "videos" / slug(self.name_of(run), max_bytes=120)


def list_configs(first: Path) -> list[Path]:
    """List the settings files that ship, short paths where that is clear.

    Args:
        first: Comes first, whether it ships or not.
    """
    folder = PROJECT / "configs"
    shipped = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]
    others = [
        path for path in shipped if path.name != "all_settings.yaml" and not _same(path, first)
    ]
    return [first, *(_short(path) for path in others)]


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, folders, _ in os.walk(folder):
        runs = [name for name in folders if _RUN.fullmatch(name)]
        yield from (Path(path, name) for name in runs if Path(path, name, "config.yaml").is_file())
        folders[:] = [name for name in folders if name not in runs]


def _short(path: Path) -> Path:
    return path.relative_to(PROJECT) if Path.cwd() == PROJECT else path


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()
