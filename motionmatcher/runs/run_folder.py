"""What a run folder holds: settings, cached reference, previews, checkpoints, logs."""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from motionmatcher.config.loading import load_settings, with_preview_defaults, write_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.files import make_unused_folder, remove_unfinished
from motionmatcher.paths import find_path, record_paths, require_folder
from motionmatcher.runs.choice import choice_file

STATE_FILE = "training_state.safetensors"
_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
_PREVIEW = re.compile(r"step-([0-9]+)[._].*")


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
        run = cls(make_unused_folder(Path(output_dir) / name))
        write_settings(run.config_file, settings)
        record_paths(run.folder, settings)
        return run

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """Open a run folder, ours or published.

        Raises:
            UserError: It is not there or holds no checkpoint.
        """
        run = cls(Path(folder))
        require_folder(run.folder, "run folder")
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
    def text_states(self) -> Path:
        """Cached states of prompts, of text encoders that are too large to stay."""
        return self.reference_folder / "text_states.safetensors"

    @property
    def log_folder(self) -> Path:
        """TensorBoard's event files."""
        return self.folder / "logs"

    def settings(self) -> TrainSettings | None:
        """Read the run's settings; None for a published run, which does not hold them."""
        if not self.config_file.is_file():
            return None
        return with_preview_defaults(load_settings(self.config_file, recorded=True))

    def find_path(self, path: str) -> str:
        """Find what a path of the run's settings names, from wherever the run is used."""
        return find_path(path, self.folder)

    def checkpoint_steps(self) -> list[int]:
        """List the steps of which there are checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        folders = (path for path in self.folder.iterdir() if path.is_dir())
        matches = (_CHECKPOINT.fullmatch(path.name) for path in folders)
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

    def continue_from(self, step: int, settings: TrainSettings) -> Path | None:
        """Let the run go on from a checkpoint, with these settings.

        What was made after that checkpoint is set aside in a folder that is a run itself, so that
        `checkpoint-N` and `config.yaml` tell of one training only.

        Args:
            step: The checkpoint's.
            settings: The run's from now on.

        Returns:
            The folder with what was set aside; None when nothing was.
        """
        later = [other for other in self.checkpoint_steps() if other > step]
        aside = None
        if later:
            aside = Run(make_unused_folder(self.folder / f"set-aside-after-{step}"))
            shutil.copy2(self.config_file, aside.config_file)
            if self.reference_folder.is_dir():
                shutil.copytree(self.reference_folder, aside.reference_folder)
            if choice_file(self.folder).is_file():  # it was made among checkpoints that go
                choice_file(self.folder).rename(choice_file(aside.folder))
            aside.samples_folder.mkdir()
            for path in self.samples_folder.glob("step-*"):
                match = _PREVIEW.fullmatch(path.name)
                if match and int(match[1]) > step:
                    path.rename(aside.samples_folder / path.name)
            # The newest first: cut short, this leaves a run that only made fewer steps.
            for other in reversed(later):
                self.checkpoint_folder(other).rename(aside.checkpoint_folder(other))
        write_settings(self.config_file, settings)
        return aside.folder if aside is not None else None

    def last_resumable_step(self) -> int:
        """The step of the last checkpoint that holds more than the LoRA; of the last one if none does."""
        steps = self.checkpoint_steps()
        whole = [step for step in steps if (self.checkpoint_folder(step) / STATE_FILE).is_file()]
        return (whole or steps)[-1]

    def remove_unfinished(self) -> None:
        """Clear away what a killed process left half done; a checkpoint it was replacing comes back."""
        for folder in (self.folder, self.samples_folder, self.reference_folder):
            remove_unfinished(folder)
        for useless in ("unfinished", "dropped"):
            for folder in self.folder.glob(f".checkpoint-*-{useless}"):
                shutil.rmtree(folder)
        for replaced in self.folder.glob(".checkpoint-*-replaced"):
            checkpoint = replaced.with_name(replaced.name[1:].removesuffix("-replaced"))
            if checkpoint.exists():
                shutil.rmtree(replaced)
            else:
                replaced.rename(checkpoint)

    def drop_old_checkpoints(self, keep: int | None, saved_step: int) -> None:
        """Delete the oldest checkpoints.

        Args:
            keep: How many may stay; None keeps all.
            saved_step: The one just saved, which stays although there may be later ones of before.
        """
        others = [step for step in self.checkpoint_steps() if step != saved_step]
        for step in others[: max(len(others) - (keep - 1), 0) if keep else 0]:
            folder = self.checkpoint_folder(step)
            # Renamed first, so that none is found half deleted.
            shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}-dropped")))


def find_resumable(target: str, output_dir: str | None = None) -> tuple[Run, int]:
    """Find the checkpoint that `resume_from_checkpoint` means.

    Args:
        target: "latest" or a run folder, for the run's last whole checkpoint; or a checkpoint folder.
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
        return run, run.last_resumable_step()
    run, step = open_checkpoint(target)
    if Path(target).resolve().name == run.checkpoint_folder(step).name:
        return run, step
    return run, run.last_resumable_step()


def open_checkpoint(path: Path | str) -> tuple[Run, int]:
    """Open a run at the checkpoint that a path means.

    Args:
        path: A checkpoint folder, or a run folder, which means its last checkpoint.

    Returns:
        The run and the checkpoint's step.

    Raises:
        UserError: There is no such run or checkpoint.
    """
    resolved = Path(os.path.realpath(path))  # which takes a loop of links as it is
    match = _CHECKPOINT.fullmatch(resolved.name)
    if match:
        run, step = Run.open(resolved.parent), int(match[1])
        run.find_checkpoint(step)
        return run, step
    run = Run.open(path)
    return run, run.checkpoint_steps()[-1]
