"""What a run folder holds: settings, cached reference, previews, checkpoints, logs."""

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from motionmatcher.config import load_settings, write_settings
from motionmatcher.errors import UserError
from motionmatcher.files import unused_path
from motionmatcher.settings import TrainSettings

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: `OUTPUT_DIR/train_<time>`.
    """

    folder: Path

    @classmethod
    def create(cls, output_dir: str, settings: TrainSettings) -> "Run":
        """Make a new run folder and write its settings into it."""
        name = time.strftime("train_%Y-%m-%dT%H-%M-%S")
        folder = unused_path(Path(output_dir) / name)
        folder.mkdir(parents=True)
        run = cls(folder)
        write_settings(run.config_file, settings)
        return run

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """Open a run folder, ours or published.

        Raises:
            UserError: It is not there or holds no checkpoint.
        """
        run = cls(Path(folder))
        if not run.folder.is_dir():
            raise UserError(f"{folder}: there is no such run folder.")
        if not run.checkpoint_steps():
            raise UserError(
                f"{folder} has no checkpoints: expected folders checkpoint-N, as train.py writes them."
            )
        return run

    @property
    def config_file(self) -> Path:
        """The resolved settings; published runs have none."""
        return self.folder / "config.yaml"

    @property
    def samples_folder(self) -> Path:
        """Previews and their contact sheets."""
        return self.folder / "samples"

    @property
    def reference_folder(self) -> Path:
        """Cached latents and inversion noise of the reference."""
        return self.folder / "cached_latents"

    @property
    def log_folder(self) -> Path:
        """TensorBoard's event files."""
        return self.folder / "logs"

    def settings(self) -> TrainSettings | None:
        """Read the run's settings; None for a published run, which does not hold them."""
        return load_settings(self.config_file) if self.config_file.is_file() else None

    def checkpoint_steps(self) -> list[int]:
        """List the steps of which there are checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (_CHECKPOINT.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of a step is or will be."""
        return self.folder / f"checkpoint-{step}"

    def find_checkpoint(self, step: int | None = None) -> Path:
        """Find a checkpoint's folder.

        Args:
            step: Its step; None for the last.

        Raises:
            UserError: There is none of that step; lists those there are.
        """
        steps = self.checkpoint_steps()
        if step is None and steps:
            return self.checkpoint_folder(steps[-1])
        if step not in steps:
            there_are = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{self.folder} has no checkpoint-{step}; there are: {there_are}.")
        return self.checkpoint_folder(step)

    def drop_old_checkpoints(self, keep: int | None, saved_step: int) -> None:
        """Delete the oldest checkpoints.

        Args:
            keep: How many may stay; None keeps all.
            saved_step: The one just saved, which stays although there may be later ones of before.
        """
        others = [step for step in self.checkpoint_steps() if step != saved_step]
        for step in others[: max(len(others) - (keep - 1), 0) if keep else 0]:
            shutil.rmtree(self.checkpoint_folder(step))


def find_resumable(target: str, output_dir: str | None = None) -> tuple[Run, int]:
    """Find the checkpoint that `resume_from_checkpoint` means.

    Args:
        target: "latest", a run folder, or a checkpoint folder.
        output_dir: Where "latest" looks for runs; without it, "latest" is a folder's name.

    Returns:
        The run and the checkpoint's step.

    Raises:
        UserError: There is no such checkpoint.
    """
    if target == "latest" and output_dir is not None:
        runs = [Run(path) for path in sorted(Path(output_dir).glob("train_*"))]
        with_checkpoints = [run for run in runs if run.checkpoint_steps()]
        if not with_checkpoints:
            raise UserError(
                f"resume_from_checkpoint: latest finds no run with a checkpoint in {output_dir}."
            )
        run = with_checkpoints[-1]
        return run, run.checkpoint_steps()[-1]
    path = Path(target)
    match = _CHECKPOINT.fullmatch(path.resolve().name)
    if match:
        run = Run.open(path.resolve().parent)
        run.find_checkpoint(int(match[1]))
        return run, int(match[1])
    run = Run.open(path)
    return run, run.checkpoint_steps()[-1]
