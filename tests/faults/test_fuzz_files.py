"""Whatever a file holds that is read back: one line and exit code 2, or it is taken for what it is."""

import io
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.fuzzing import begin, cases, networks_kept, patched, require_clean_end
from faults.odd_inputs import json_like, spoilt_bytes
from hypothesis import given
from hypothesis import strategies as st
from launching import write_config

import clip_scores
import inference
import train
from motionmatcher.bases.base_model import load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import load_lora
from motionmatcher.clips.video import read_video, write_mp4
from motionmatcher.config.loading import load_settings
from motionmatcher.cost.step import StepCost
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checkpoints import load_training_state
from motionmatcher.training.loop import make_optimizer

MANIFEST = {
    "format": 1,
    "videos": [
        {
            "file": "0.mp4",
            "prompt": "a dog",
            "negative_prompt": "",
            "seed": 0,
            "checkpoint": "checkpoint-1",
            "settings": {"width": 32, "fps": 8.0},
        }
    ],
}
BASE_FILES = (
    *("unet/config.json", "vae/config.json", "text_encoder/config.json"),
    *("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json", "model_index.json"),
)
LORA = "lora/pytorch_lora_weights.safetensors"
STATE = "training_state.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, trained: Run) -> Path:
    """A run and a folder with a video, to be spoilt."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(trained.folder, folder / "run")
    write_mp4(folder / "videos" / "0.mp4", np.zeros((3, 32, 32, 3), np.uint8), fps=8)
    return folder


@pytest.fixture(scope="module")
def end_of() -> Iterator[Callable[..., int]]:
    """Run a script up to where it would read weights or count a step's cost."""
    with (
        patched("motionmatcher.generation.generate.generate", begin),
        patched("evaluation.clip_scorer.load_clip", begin),
        patched("motionmatcher.training.assembly.start_training", begin),
        patched(
            "motionmatcher.cost.step.FakeStep.cost", lambda step: StepCost(1, {"weights": 1}, 1)
        ),
        networks_kept(),
    ):
        yield require_clean_end


@pytest.fixture
def settings_kept(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the run's settings once, for half of the time of a case would go there."""
    settings = trained.settings()
    monkeypatch.setattr(Run, "settings", lambda run: settings)


def as_bytes(content: Any) -> bytes:
    return json.dumps(content).encode("utf-8", "surrogatepass")


@pytest.mark.usefixtures("settings_kept")
@cases(120)
@given(content=json_like(MANIFEST).map(as_bytes) | spoilt_bytes(as_bytes(MANIFEST)))
def test_manifests(end_of: Callable[..., int], folder: Path, content: bytes) -> None:
    (folder / "videos" / "manifest.json").write_bytes(content)
    end_of(clip_scores.main, ["--output_dir", "videos"], folder)
    end_of(inference.main, ["-cf", "run", "-p", "a dog", "-d", "cpu", "-o", "videos"], folder)


@pytest.mark.usefixtures("settings_kept")
@cases(60)
@given(
    content=st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-16"))
)
def test_files_of_prompts(end_of: Callable[..., int], folder: Path, content: bytes) -> None:
    (folder / "prompts.txt").write_bytes(content)
    arguments = ["-cf", "run", "--prompts", "prompts.txt", "-d", "cpu", "-o", "out"]
    end_of(inference.main, arguments, folder)


@cases(60)
@given(data=st.data())
def test_a_run_s_own_settings(
    end_of: Callable[..., int], folder: Path, trained: Run, data: st.DataObject
) -> None:
    content = data.draw(spoilt_bytes(trained.config_file.read_bytes()))
    (folder / "run" / "config.yaml").write_bytes(content)
    try:
        end_of(inference.main, ["-cf", "run", "-p", "a dog", "-d", "cpu", "-o", "out"], folder)
        end_of(train.main, ["--resume", "run", "--device", "cpu"], folder)
    finally:
        shutil.copy2(trained.config_file, folder / "run" / "config.yaml")


@cases(40)
@given(data=st.data())
def test_bases(
    end_of: Callable[..., int],
    folder: Path,
    base_folder: Path,
    run_values: dict[str, Any],
    data: st.DataObject,
) -> None:
    """Dry runs with a base of which one config file is spoilt; its weights are where they were."""
    spoilt = data.draw(st.sampled_from(BASE_FILES))
    good = (base_folder / spoilt).read_bytes()
    content = data.draw(json_like(json.loads(good)).map(as_bytes) | spoilt_bytes(good))
    base = folder / "base"
    if not base.exists():
        shutil.copytree(base_folder, base, copy_function=lambda old, new: Path(new).symlink_to(old))
    write_config(folder / "config.yaml", {**run_values, "pretrained_model_path": "base"})
    (base / spoilt).unlink()
    (base / spoilt).write_bytes(content)
    try:
        end_of(train.main, ["--config", "config.yaml", "--dry-run"], folder)
    finally:
        (base / spoilt).write_bytes(good)


@pytest.fixture(scope="module")
def attach(tiny_base: Path, trained: Run) -> Callable[[Path], Any]:
    """Load a folder's LoRA into a UNet."""
    base = load_base_model(find_base(str(tiny_base)), torch.device("cpu"))
    load_lora(base.denoiser, trained.checkpoint_folder(1) / "lora")
    return lambda folder: load_lora(base.denoiser, folder)


@pytest.fixture(scope="module")
def restore(tiny_base: Path, trained: Run) -> Callable[[Path], Any]:
    """Load a checkpoint's training state into a fresh optimiser."""
    base = load_base_model(find_base(str(tiny_base)), torch.device("cpu"))
    load_lora(base.denoiser, trained.checkpoint_folder(1) / "lora")
    settings, parameters = load_settings(trained.config_file), base.denoiser.lora_parameters()

    def load(folder: Path) -> Any:
        return load_training_state(
            folder, make_optimizer(settings, list(parameters.values())), None
        )

    return load


@pytest.fixture(scope="module")
def published() -> bytes:
    """A file as the published program writes it, of another UNet."""
    content = io.BytesIO()
    torch.save([torch.zeros(2, 3) for _ in range(4)], content)
    return content.getvalue()


@st.composite
def spoilt_tensors(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file whose header lies, or of which any bytes are others."""
    if draw(st.booleans()):
        return draw(spoilt_bytes(content, reach=2000))
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {
        key: draw(json_like(json.loads(text)).map(json.dumps) | st.just(text))
        for key, text in header["__metadata__"].items()
    }
    spoilt = as_bytes(draw(st.just(header) | json_like(header)))
    told = draw(
        st.sampled_from((len(spoilt), len(spoilt) + 8, 0, 2**40, 2**64 - 1)) | st.just(len(spoilt))
    )
    return struct.pack("<Q", told) + spoilt + content[8 + length :]


@cases(80)
@given(data=st.data())
def test_loras(
    attach: Callable[[Path], Any], folder: Path, trained: Run, data: st.DataObject
) -> None:
    good = (trained.checkpoint_folder(1) / LORA).read_bytes()
    file = folder / "lora" / Path(LORA).name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data.draw(spoilt_tensors(good)))
    require_one_line(lambda: attach(file.parent))


@cases(80)
@given(data=st.data())
def test_training_states(
    restore: Callable[[Path], Any], folder: Path, trained: Run, data: st.DataObject
) -> None:
    good = (trained.checkpoint_folder(1) / STATE).read_bytes()
    file = folder / "checkpoint-1" / STATE
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data.draw(spoilt_tensors(good)))
    require_one_line(lambda: restore(file.parent))


@cases(60)
@given(data=st.data())
def test_published_loras(
    attach: Callable[[Path], Any], folder: Path, published: bytes, data: st.DataObject
) -> None:
    file = folder / "published" / "400_unet.pt"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data.draw(spoilt_bytes(published)))
    require_one_line(lambda: attach(file.parent))


@cases(60)
@given(data=st.data())
def test_clips(folder: Path, clip_path: Path, data: st.DataObject) -> None:
    file = folder / "clip.mp4"
    file.write_bytes(data.draw(spoilt_bytes(clip_path.read_bytes())))
    require_one_line(lambda: read_video(file))


def require_one_line(read: Callable[[], Any]) -> None:
    """Require that a file is either taken or refused by one line."""
    refused = ""
    try:
        read()
    except UserError as error:
        refused = str(error)
    assert len(refused.splitlines()) <= 1, repr(refused)
