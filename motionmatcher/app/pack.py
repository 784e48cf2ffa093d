"""What the window gives to take away of a run: a motion pack, in one file."""

import tempfile
import zipfile
from pathlib import Path

import torch

from motionmatcher.files import atomic_path
from motionmatcher.packing.plan import plan_pack
from motionmatcher.packing.writing import write_pack as write_pack_folder
from motionmatcher.reporting import quiet
from motionmatcher.runs.run_folder import Run


def write_pack(run: Run, path: Path, step: int | None = None) -> None:
    """Write a motion pack of a run as a zip file.

    It has no contact sheet, which would take the base model.

    Args:
        run: The run.
        path: The file.
        step: Of the checkpoint; None for the one that was chosen, or the last.

    Raises:
        UserError: There is no such checkpoint, or the file system refuses.
    """
    with tempfile.TemporaryDirectory() as scratch, quiet():
        plan = plan_pack(
            run.folder, output_dir=Path(scratch, path.stem), checkpoint=step, contact_sheet=False
        )
        pack = write_pack_folder(plan, torch.device("cpu"))
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for file in sorted(pack.folder.iterdir()):
                archive.write(file, Path(path.stem, file.name))
