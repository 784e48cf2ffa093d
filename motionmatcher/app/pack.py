"""What the window gives to take away of a run: its LoRA and its settings, in one file."""

import zipfile
from pathlib import Path

from motionmatcher.files import atomic_path
from motionmatcher.runs.run_folder import Run


def write_pack(run: Run, path: Path, step: int | None = None) -> None:
    """Write a run's LoRA and settings as a zip file, which unpacked is a run folder for inference.py.

    Args:
        run: The run.
        path: The file.
        step: Of the checkpoint; None for the last.

    Raises:
        UserError: There is no such checkpoint, or the file system refuses.
    """
    checkpoint = run.find_checkpoint(step)
    files = [file for file in sorted((checkpoint / "lora").rglob("*")) if file.is_file()]
    files += [run.config_file] if run.config_file.is_file() else []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in files:
            archive.write(file, Path(run.folder.name, file.relative_to(run.folder)))
