"""Weight files that are not all there are named before a run is made; every sharded form is read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import networks

from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.errors import UserError

STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@pytest.fixture
def folder(base_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base_folder, tmp_path / "base")


def split(folder: Path, suffix: str, variant: str = "") -> None:
    """Publish every part in two files and an index, as large models are."""
    for part, stem in STEMS.items():
        if suffix == ".bin" and part == "text_encoder":
            stem = "pytorch_model"
        (whole,) = (folder / part).glob("*.safetensors")
        tensors = load_file(whole)
        whole.unlink()
        places = {}
        for number in (1, 2):
            name = f"{stem}{variant}-{number:05d}-of-00002{suffix}"
            share = {key: tensors[key] for key in sorted(tensors)[number - 1 :: 2]}
            places.update(dict.fromkeys(share, name))
            if suffix == ".bin":
                torch.save(share, folder / part / name)
            else:
                save_file(share, folder / part / name, metadata={"format": "pt"})
        index = {"metadata": {"total_size": 0}, "weight_map": places}
        file = folder / part / f"{stem}{suffix}.index{variant}.json"
        file.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("suffix", "variant"), [(".safetensors", ""), (".bin", ""), (".safetensors", ".fp16")]
)
def test_a_base_in_several_files_is_read(
    base_folder: Path, folder: Path, suffix: str, variant: str, capfd: pytest.CaptureFixture[str]
) -> None:
    split(folder, suffix, variant)
    layout = find_base(str(folder))
    layout.require_weights()
    cpu = torch.device("cpu")
    loaded, whole = load_base_model(layout, cpu), load_base_model(find_base(str(base_folder)), cpu)
    for part in STEMS:
        ours, theirs = (networks(model)[part].state_dict() for model in (loaded, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), part
    assert "error" not in capfd.readouterr().err.lower()


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"conv_in.weight": 3}, {0: torch.zeros(2)}])
def test_pickled_weights_are_tensors_by_their_names(folder: Path, content: object) -> None:
    split(folder, ".bin")
    file = folder / "unet" / "diffusion_pytorch_model-00001-of-00002.bin"
    torch.save(content, file)
    with pytest.raises(UserError, match=r"00001-of-00002\.bin holds no weights of a model: exp"):
        load_base_model(find_base(str(folder)), torch.device("cpu"))


def refusal(layout: BaseLayout) -> str:
    with pytest.raises(UserError) as caught:
        layout.check_weights()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_lost_shard(folder: Path, suffix: str) -> None:
    split(folder, suffix)
    lost = folder / "vae" / f"diffusion_pytorch_model-00002-of-00002{suffix}"
    lost.unlink()
    message = refusal(find_base(str(folder)))
    named = f"diffusion_pytorch_model{suffix}.index.json"
    assert message.startswith(f"{lost} is missing, which {named} names. Copy it anew")
    (folder / "vae" / named).unlink()
    assert f"their index {suffix}.index.json is missing" in refusal(find_base(str(folder)))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (
            {"conv_in.weight": "../vae/diffusion_pytorch_model.bin"},
            "must name files beside it, not ",
        ),
        ({"conv_in.weight": "/etc/passwd"}, "must name files beside it, not "),
        ({"conv_in.weight": 5}, "must name files beside it, not 5"),
        ([], "weight_map must give the file of each weight"),
        (None, "weight_map must give the file of each weight"),
    ],
)
def test_an_index_that_leads_elsewhere(folder: Path, weight_map: object, message: str) -> None:
    split(folder, ".bin")
    index = folder / "unet" / "diffusion_pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert message in refusal(find_base(str(folder)))


def test_a_pointer_of_git_lfs(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    message = refusal(find_base(str(folder)))
    assert message.startswith(
        f"{file} is a pointer of Git LFS, not the weights themselves: run git"
    )
    file.write_bytes(b"")
    assert f"{file} is empty" in refusal(find_base(str(folder)))


def test_the_remains_of_another_form_do_not_count(folder: Path) -> None:
    index = folder / "unet" / "diffusion_pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "gone.bin"}}))
    find_base(str(folder)).require_weights()


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_weights_of_another_size_than_the_config_says(folder: Path, part: str) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    tensors[max(tensors)] = torch.zeros(3, 3)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=rf"the weights in {folder / part} are not those of its config"
    ):
        load_base_model(find_base(str(folder)), torch.device("cpu"))
