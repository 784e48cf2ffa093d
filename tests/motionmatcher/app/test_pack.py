"""What is taken away of a run."""

import zipfile
from pathlib import Path

import pytest

from motionmatcher.app.pack import write_pack
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run


def test_a_pack_is_a_run_folder_with_the_lora_and_the_settings_only(tmp_path: Path) -> None:
    run = Run(tmp_path / "train_1")
    for step in (5, 10):
        (run.checkpoint_folder(step) / "lora").mkdir(parents=True)
        (run.checkpoint_folder(step) / "lora" / "lora.safetensors").write_text(f"of {step}")
        (run.checkpoint_folder(step) / "training_state.safetensors").touch()
    run.config_file.write_text("seed: 0")
    run.samples_folder.mkdir()
    write_pack(run, tmp_path / "packs" / "run.zip")
    with zipfile.ZipFile(tmp_path / "packs" / "run.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    files = {
        str(f.relative_to(tmp_path / "elsewhere")) for f in (tmp_path / "elsewhere").rglob("*.*")
    }
    assert files == {"train_1/checkpoint-10/lora/lora.safetensors", "train_1/config.yaml"}
    opened = Run.open(tmp_path / "elsewhere" / "train_1")
    assert opened.checkpoint_steps() == [10]
    write_pack(run, tmp_path / "packs" / "run.zip", 5)
    with zipfile.ZipFile(tmp_path / "packs" / "run.zip") as archive:
        assert archive.read("train_1/checkpoint-5/lora/lora.safetensors") == b"of 5"
    with pytest.raises(UserError, match="has no checkpoint-7; there are: 5, 10"):
        write_pack(run, tmp_path / "packs" / "run.zip", 7)
