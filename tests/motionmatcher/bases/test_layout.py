"""What a base model's folder holds is known before weights are read; what is missing is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from launching import PROJECT

from motionmatcher import paths
from motionmatcher.bases.hub import choose_weights
from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.bases.parts import KINDS, Part
from motionmatcher.errors import UserError

COPY_ANEW = r"Copy it anew from where it comes from\.$"


@pytest.fixture
def folder(base_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(base_folder, tmp_path / "base")


def test_a_complete_folder(base_folder: Path) -> None:
    layout = find_base(str(base_folder))
    assert layout.folder == base_folder
    assert layout.name == str(base_folder)
    assert layout.denoiser.config["block_out_channels"] == [32, 64]
    assert layout.schedule.config["beta_end"] == 0.012
    assert layout.missing_weights() == []
    layout.require_weights()


def test_latents_are_height_first(base_folder: Path) -> None:
    layout = find_base(str(base_folder))
    assert layout.latent_shape(num_frames=3, width=64, height=40) == (4, 3, 5, 8)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (60, 64, "width 60 must be a multiple of 8 pixels for this base model: use 64"),
        (64, 67, "height 67 must be a multiple of 8 pixels for this base model: use 64"),
        (3, 64, "width 3 must be a multiple of 8 pixels for this base model: use 8"),
    ],
)
def test_sizes_that_do_not_fit(base_folder: Path, width: int, height: int, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        find_base(str(base_folder)).latent_shape(4, width, height)


@pytest.mark.parametrize(
    "missing",
    [
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
    ],
)
def test_a_missing_config_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    message = rf"^{folder / missing} is missing: {folder} is not complete\. {COPY_ANEW}"
    with pytest.raises(UserError, match=message):
        find_base(str(folder))


def test_missing_weights_are_named(folder: Path) -> None:
    for part in ("unet", "text_encoder"):
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
    layout = find_base(str(folder))
    assert layout.missing_weights() == ["unet", "text_encoder"]
    message = rf"^{folder} has no weights for unet, text_encoder\. {COPY_ANEW}"
    with pytest.raises(UserError, match=message):
        layout.require_weights()


def test_a_damaged_config(folder: Path) -> None:
    file = folder / "vae" / "config.json"
    for content, message in {
        b'{"block_out_channels": [32,': "is not valid JSON: Expecting value",
        50_000 * b'{"a":': "is nested deeper than 32 levels",
        b'{"a": "\xff"}': "is not UTF-8",
    }.items():
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{file} {message}.* {COPY_ANEW}"):
            find_base(str(folder))


def test_a_unet_of_another_class(folder: Path) -> None:
    config = folder / "unet" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "_class_name": "UNet2DModel"}))
    message = f"^{config}: _class_name must be of UNet3DConditionModel, .*, not 'UNet2DModel'"
    with pytest.raises(UserError, match=message):
        find_base(str(folder))


def test_a_denoiser_may_lie_in_the_folder_of_transformers(folder: Path) -> None:
    (folder / "unet").rename(folder / "transformer")
    assert find_base(str(folder)).denoiser.folder == "transformer"


def test_a_folder_that_is_mixed_of_two_models(folder: Path) -> None:
    shutil.copytree(folder / "unet", folder / "transformer")
    message = rf"^{folder} has both unet and transformer: it is mixed of two models\. {COPY_ANEW}"
    with pytest.raises(UserError, match=message):
        find_base(str(folder))


@pytest.mark.parametrize("of_hub", [False, True], ids=["whole folder", "as downloaded"])
def test_a_second_denoiser_is_not_left_out_silently(folder: Path, of_hub: bool) -> None:
    index = {"_class_name": "WanPipeline", "boundary_ratio": None}
    (folder / "model_index.json").write_text(json.dumps(index))
    find_base(str(folder))
    if of_hub:
        (folder / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": 0.875}))
    else:
        shutil.copytree(folder / "unet", folder / "transformer_2")
    with pytest.raises(
        UserError, match=rf"^{folder} has a second denoiser for low noise, .* not supp"
    ):
        find_base(str(folder))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (
            "models/zeroscope_v2_576w/",
            "Download it with: hf download cerspense/zeroscope_v2_576w --local-dir models/zeroscope_v2_576w/",
        ),
        *(
            (
                name,
                "Give a folder in diffusers' layout, or the id of one on the Hub, such as cerspense/",
            )
            for name in ("models/moving_shapes", "./nowhere", "/nowhere/at/all", "a/b/c", "nowhere")
        ),
    ],
)
def test_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    message = rf"^{name}: there is no such base model folder\. {remedy}"
    with pytest.raises(UserError, match=message):
        find_base(name)


@pytest.mark.parametrize("configs_only", [False, True])
def test_a_hub_id_is_downloaded(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch, configs_only: bool
) -> None:
    asked: dict[str, Any] = {}
    files = ["README.md", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    files += ["unet/diffusion_pytorch_model.bin", "tokenizer/merges.txt", "text_encoder/model.bin"]
    files += ["model_index.json"]

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(base_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, name: files)
    layout = find_base("cerspense/zeroscope_v2_576w", configs_only)
    assert asked["name"] == "cerspense/zeroscope_v2_576w"
    assert layout.folder == base_folder
    weights = ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.bin"]
    texts = ["unet/config.json", "tokenizer/merges.txt", "model_index.json"]
    assert asked["patterns"] == (texts if configs_only else texts + weights)


def test_without_a_network_an_earlier_download_does(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(name: str, local_files_only: bool) -> str:
        assert local_files_only
        return str(base_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert find_base("someone/their_model").folder == base_folder  # HF_HUB_OFFLINE is set


def test_a_hub_id_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(name: str, local_files_only: bool) -> str:
        raise LocalEntryNotFoundError("no network\nmore lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    message = (
        r"^someone/their_model is no folder here and could not be downloaded \(no network\)\. "
        r"Download it with: hf download someone/their_model --local-dir models/their_model$"
    )
    with pytest.raises(UserError, match=message):
        find_base("someone/their_model")


@pytest.mark.parametrize(
    ("part", "files", "found", "variant"),
    [
        ("unet", ["diffusion_pytorch_model.bin"], 1, None),
        ("unet", ["diffusion_pytorch_model.fp16.safetensors"], 1, "fp16"),
        ("unet", ["diffusion_pytorch_model.fp16.bin", "diffusion_pytorch_model.bin"], 2, None),
        ("text_encoder", ["pytorch_model.bin"], 1, None),
        ("text_encoder", ["model.fp16.safetensors", "pytorch_model.fp16.bin"], 2, "fp16"),
        ("text_encoder", ["model-00001-of-00002.safetensors"], 1, None),
        ("unet", ["optimizer.bin", "training_args.bin", "notes.txt"], 0, None),
    ],
)
def test_weight_files(
    folder: Path, part: str, files: list[str], found: int, variant: str | None
) -> None:
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
    for name in files:
        (folder / part / name).touch()
    layout = find_base(str(folder))
    (weighed,) = (weighed for weighed in layout.weighed if weighed.folder == part)
    assert len(layout.weight_files(weighed)) == found
    assert layout.weight_variant(weighed) == variant


def test_the_fingerprint_does_not_depend_on_the_place(base_folder: Path, folder: Path) -> None:
    fingerprint = find_base(str(folder)).fingerprint()
    assert fingerprint == find_base(str(base_folder)).fingerprint()
    assert len(fingerprint) == 16


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("place", [-1, 0.5])
def test_the_fingerprint_depends_on_every_byte_of_the_weights(
    folder: Path, part: str, place: float
) -> None:
    before = find_base(str(folder)).fingerprint()
    (file,) = (folder / part).glob("*.safetensors")
    content = bytearray(file.read_bytes() + bytes(3 << 20))  # longer than what once was sampled
    file.write_bytes(content)
    longer = find_base(str(folder)).fingerprint()
    content[int(len(content) * place) if place > 0 else -1] ^= 1
    file.write_bytes(content)
    changed = find_base(str(folder)).fingerprint()
    assert len({before, longer, changed}) == 3


def test_the_fingerprint_depends_on_the_vocabulary(folder: Path) -> None:
    before = find_base(str(folder)).fingerprint()
    file = folder / "tokenizer" / "tokenizer.json"
    file.write_text(file.read_text() + "\n")
    assert find_base(str(folder)).fingerprint() != before


def test_the_sampled_fingerprint_is_that_of_older_files(tmp_path: Path) -> None:
    configs = {"unet": "config", "vae": "config", "text_encoder": "config"}
    configs |= {"scheduler": "scheduler_config", "tokenizer": "tokenizer_config"}
    for part, name in configs.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.json").write_text("{}")
    stems = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
    for part in ("unet", "vae", "text_encoder"):
        file = tmp_path / part / f"{stems.get(part, 'model')}.safetensors"
        file.write_bytes(part.encode() * 400_000)
    # Recorded with the program as it was when it sampled.
    parts: list[Part[Any]] = [Part(kind, kind.folders[0], {}, object) for kind in KINDS]
    denoiser, codec, text, schedule = parts
    layout = BaseLayout("", tmp_path, denoiser, codec, text, schedule, num_tokens=77)
    assert layout.sampled_fingerprint() == "55300d57a23e221a"


@pytest.mark.parametrize(
    ("name", "results"),
    [("moving_shapes", ["docs/comparison/unet/RESULTS.md"]), ("moving_shapes_wan", [])],
)
def test_a_small_base_s_documents_are_of_its_weights(name: str, results: list[str]) -> None:
    base = find_base(str(PROJECT / "models" / name))
    scores = json.loads((base.folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["base"]["fingerprint"] == base.fingerprint()
    for record in (base.folder / "README.md", *(PROJECT / file for file in results)):
        assert f"fingerprint {base.fingerprint()}" in record.read_text(encoding="utf-8")


def test_the_fingerprint_depends_on_the_schedule(folder: Path) -> None:
    before = find_base(str(folder)).fingerprint()
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.013"))
    assert find_base(str(folder)).fingerprint() != before


@pytest.mark.parametrize("gone", ["vocab.json", "merges.txt"])
def test_a_tokenizer_without_its_words(folder: Path, tmp_path: Path, gone: str) -> None:
    base = tmp_path / "copy"
    shutil.copytree(folder, base)
    (base / "tokenizer" / "tokenizer.json").unlink()
    for name in {"vocab.json", "merges.txt"} - {gone}:
        (base / "tokenizer" / name).write_text("{}")
    with pytest.raises(UserError, match=rf"{gone} is missing.*{COPY_ANEW}"):
        find_base(str(base))


def test_one_form_of_weights_is_downloaded() -> None:
    files = ["README.md", "unet/config.json", "vae/diffusion_pytorch_model.bin"]
    files += [
        f"unet/diffusion_pytorch_model{v}{s}"
        for v in ("", ".fp16")
        for s in (".bin", ".safetensors")
    ]
    files += ["text_encoder/model.fp16.safetensors"]
    assert choose_weights(files, "unet") == ["unet/diffusion_pytorch_model.safetensors"]
    assert choose_weights(files, "vae") == ["vae/diffusion_pytorch_model.bin"]
    assert choose_weights(files, "text_encoder") == ["text_encoder/model.fp16.safetensors"]
