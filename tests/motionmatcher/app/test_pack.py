"""What is taken away of a run."""

import zipfile
from pathlib import Path

import pytest
import torch
from launching import PROJECT

from motionmatcher import open_pack
from motionmatcher.app.pack import write_pack
from motionmatcher.bases.lora import ADAPTER_FILE
from motionmatcher.config.loading import load_settings, write_settings
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import read_tensors, write_tensors


def test_it_is_a_motion_pack_of_the_checkpoint_asked_for(tmp_path: Path) -> None:
    run, path = Run(tmp_path / "train_1"), tmp_path / "packs" / "swing.zip"
    for step in (5, 10):
        (run.checkpoint_folder(step) / "lora").mkdir(parents=True)
        file = run.checkpoint_folder(step) / "lora" / ADAPTER_FILE
        write_tensors(file, {"weight": torch.tensor([float(step)])}, {})
    write_settings(
        run.config_file, load_settings(PROJECT / "configs/moving_shapes_wan/config_swing.yaml")
    )
    for asked, packed in ((None, 10.0), (5, 5.0)):
        write_pack(run, path, asked)
        with zipfile.ZipFile(path) as archive:
            assert set(archive.namelist()) == {
                f"swing/{name}" for name in (ADAPTER_FILE, "README.md", "pack.json")
            }
            archive.extractall(tmp_path / f"{asked}")
        pack = open_pack(tmp_path / f"{asked}" / "swing")
        assert read_tensors(pack.folder / ADAPTER_FILE)[0]["weight"].item() == packed
    with pytest.raises(UserError, match="has no checkpoint-7; there are: 5, 10"):
        write_pack(run, path, 7)
