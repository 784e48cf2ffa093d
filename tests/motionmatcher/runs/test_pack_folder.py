"""A pack from somebody else is checked before it is used: each fault is one line."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from inference import parse_arguments
from inference import request_of as of_flags
from motionmatcher.bases.lora import ADAPTER_FILE
from motionmatcher.config.loading import parse_settings, with_preview_defaults
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.generation.generate import GenerationRequest
from motionmatcher.runs.pack_folder import NOISE_FILE, PACK_FILE, Pack
from motionmatcher.tensor_files import write_tensors

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def pack(tmp_path: Path, quick_values: dict[str, Any]) -> Pack:
    """A pack with noise for 4 frames of 32x32 pixels, whose LoRA nobody reads."""
    settings = with_preview_defaults(parse_settings(TrainSettings, quick_values, "test"))
    pack = Pack(tmp_path / "pack", settings)
    pack.write_settings(4)
    pack.write_noise(torch.ones(1, 4, 4, 4, 4), "f" * 16)
    write_tensors(pack.folder / ADAPTER_FILE, {"a": torch.ones(1)}, {})
    return pack


@pytest.fixture
def request_of(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., GenerationRequest]:
    """Make the request of a command line of inference.py."""

    def make(*flags: object) -> GenerationRequest:
        given = ["--pack", pack.folder, "-p", "A cat.", "-o", tmp_path / "out", *flags]
        monkeypatch.setattr(sys, "argv", ["inference.py", *map(str, given)])
        return of_flags(parse_arguments())

    return make


def rewrite(pack: Pack, change: Change) -> None:
    file = pack.folder / PACK_FILE
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_settings_come_back_without_the_clip_s_path(
    pack: Pack, quick_values: dict[str, Any], clip_path: Path
) -> None:
    found = Pack.open(pack.folder).settings()
    assert found.train_data.single_video_path == "not in the pack"
    assert str(clip_path) not in (pack.folder / PACK_FILE).read_text()
    assert found.validation_data == pack.trained.validation_data
    for key in ("min_timestep", "mixed_precision", "lora_rank", "pretrained_model_path"):
        assert getattr(found, key) == getattr(pack.trained, key)
    assert not found.cache_latents, "nothing is written into a pack"


def test_its_settings_are_the_defaults(
    request_of: Callable[..., GenerationRequest], pack: Pack, tiny_base: Path
) -> None:
    request = request_of()
    assert (request.checkpoint, request.lora_folder) == (pack.folder, pack.folder)
    assert request.layout.folder == tiny_base
    sampling = request.sampling
    assert (sampling.num_frames, sampling.width, sampling.num_inference_steps) == (4, 32, 4)
    assert sampling.noise_prior == 0.3


def test_a_base_may_lie_among_the_models(
    pack: Pack, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pack.find_path("someone/base") == "someone/base"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(tiny_base)
    assert pack.find_path("someone/base") == "models/base"
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / "base").symlink_to(tiny_base)
    assert pack.find_path("someone/base") == "someone/base"


def unlink(name: str) -> Callable[[Pack], None]:
    return lambda pack: (pack.folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Pack], object]:
    return lambda pack: (pack.folder / name).write_bytes(content)


def changed(change: Change) -> Callable[[Pack], None]:
    return lambda pack: rewrite(pack, change)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (unlink(PACK_FILE), r"pack has no pack\.json: give a pack, as python -m motionmatcher\.pack"),
        (unlink(ADAPTER_FILE), f"pack lacks {ADAPTER_FILE}. Get the pack whole"),
        (unlink(NOISE_FILE), f"pack lacks {NOISE_FILE}. Get the pack whole"),
        (write(PACK_FILE, b"{"), r"pack\.json is not valid JSON: .* Get the pack whole"),
        (write(PACK_FILE, b"[]"), r"pack\.json does not say which format it has"),
        (write(ADAPTER_FILE, b""), f"{ADAPTER_FILE} is empty. Get the pack whole"),
        (
            write(NOISE_FILE, b"version https://git-lfs.github.com/spec/v1\n"),
            f"{NOISE_FILE} is a pointer of Git LFS",
        ),
        (
            changed(lambda content: content.update(format=2)),
            r"pack\.json has format 2, and formats up to 1 are understood: get a newer version",
        ),
        (changed(lambda content: content.update(format=0)), "does not say which format it has"),
        (changed(lambda content: content.update(format="1")), "does not say which format it has"),
        (changed(lambda content: content.pop("settings")), r"pack\.json has no 'settings'"),
        (
            changed(lambda content: content["settings"].update(min_timestep=-1)),
            r"pack\.json: min_timestep must be at least 1, not -1",
        ),
        (
            changed(lambda content: content["settings"].update(min_timesteps=1)),
            r"pack\.json: unknown key 'min_timesteps'\. Did you mean 'min_timestep'\?",
        ),
        (
            changed(lambda content: content["settings"].pop("train_data")),
            r"pack\.json: train_data\.single_video_path is missing",
        ),
    ],
)  # fmt: skip
def test_a_pack_that_is_not_whole(
    harm: Callable[[Pack], object], message: str, pack: Pack, request_of: Callable
) -> None:
    harm(pack)
    with pytest.raises(UserError, match=message) as error:
        request_of()
    assert "\n" not in str(error.value)


def test_a_pack_that_is_not_there(request_of: Callable[..., GenerationRequest]) -> None:
    with pytest.raises(UserError, match="gone: there is no such pack"):
        request_of("--pack", "gone")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-W", 40], "is noise for 4 frames of 32x32 pixels: keep this size, or use --noise_prior 0"),
        (["-T", 8], "is noise for 4 frames of 32x32 pixels"),
        (["-ci", 4], r"--checkpoint_index 4: the pack .*pack holds one checkpoint: leave it out"),
        (["-m", "gone"], "gone: there is no such base model folder"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_it(
    flags: Sequence[object], message: str, request_of: Callable[..., GenerationRequest]
) -> None:
    with pytest.raises(UserError, match=message):
        request_of(*flags)


def test_any_size_and_number_of_steps_without_the_noise(
    pack: Pack, request_of: Callable[..., GenerationRequest]
) -> None:
    assert request_of("-W", 40, "-np", 0).sampling.width == 40
    assert request_of("-s", 7).sampling.num_inference_steps == 7
    rewrite(pack, lambda content: content["settings"]["validation_data"].update(noise_prior=0))
    (pack.folder / NOISE_FILE).unlink()
    assert request_of("-W", 40).sampling.noise_prior == 0
    message = r"--noise_prior: the pack .*pack holds no inversion noise: leave it out, or ask"
    with pytest.raises(UserError, match=message):
        request_of("-np", 0.3)


def test_noise_that_is_damaged(pack: Pack) -> None:
    pack.write_noise(torch.full((1, 4, 4, 4, 4), torch.nan), "f" * 16)
    with pytest.raises(UserError, match=f"{NOISE_FILE}: inversion holds NaN or infinity"):
        Pack.open(pack.folder).inversion_noise()


def test_a_run_or_a_pack(
    request_of: Callable[..., GenerationRequest], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        request_of("-cf", "somewhere")
    assert "not allowed with argument" in capsys.readouterr().err
