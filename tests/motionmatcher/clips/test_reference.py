"""The reference is made once, found again without its clip, and made anew when anything differs."""

import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import add_lora
from motionmatcher.clips import reference as reference_module
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.reference import Reference, ReferenceClip, tensor_fingerprint
from motionmatcher.clips.video import fit_frames, read_clip
from motionmatcher.config.settings import TrainData
from motionmatcher.diffusion.sampling import Inversion
from motionmatcher.diffusion.schedules import ddim_step
from motionmatcher.errors import NotFiniteError, UserError
from motionmatcher.random_streams import generator
from motionmatcher.tensor_files import read_pickle, read_tensors, write_tensors

SIZE = (3, 32, 24)  # frames, width, height


@pytest.fixture(scope="module")
def base(base_folder: Path) -> BaseModel:
    return load_base_model(find_base(str(base_folder)), torch.device("cpu"))


@pytest.fixture
def clip(clip_path: Path, tmp_path: Path) -> ReferenceClip:
    """A copy of the clip that a test may delete; every second frame from the second on."""
    copy = shutil.copy(clip_path, tmp_path / "clip.mp4")
    return ReferenceClip(str(copy), FrameChoice(1, 2))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "run" / "cached_latents"


def cached(clip: ReferenceClip | None, base: BaseModel, cache: Path) -> Reference:
    return Reference(clip, base, seed=0, read_folder=cache, write_folder=cache)


def files(cache: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in cache.iterdir())


def test_latents_are_those_of_the_clip_s_frames(
    base: BaseModel, clip: ReferenceClip, cache: Path
) -> None:
    latents = cached(clip, base, cache).latents(*SIZE)
    assert latents.shape == (1, 4, 3, 3, 4)
    pixels = fit_frames(read_clip(clip.path, clip.frames, 3), 32, 24)
    assert torch.equal(latents, base.codec.encode(pixels, generator(0, "latents")))


def test_the_cache_needs_no_clip(base: BaseModel, clip: ReferenceClip, cache: Path) -> None:
    first = cached(clip, base, cache)
    latents, noise = first.latents(*SIZE), first.inversion_noise(*SIZE, num_steps=2)
    assert files(cache) == ["inversion", "latents"]
    Path(clip.path).unlink()
    again = cached(clip, base, cache)
    assert torch.equal(again.latents(*SIZE), latents)
    assert torch.equal(again.inversion_noise(*SIZE, num_steps=2), noise)
    assert files(cache) == ["inversion", "latents"]


def test_a_hit_computes_nothing(
    base: BaseModel, clip: ReferenceClip, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(clip, base, cache).inversion_noise(*SIZE, num_steps=1)

    def never(*args: object, **kwargs: object) -> Tensor:
        raise AssertionError("computed although cached")

    monkeypatch.setattr(base.codec, "encode", never)
    monkeypatch.setattr(reference_module, "invert_reference", never)
    again = cached(clip, base, cache)
    again.latents(*SIZE)
    again.inversion_noise(*SIZE, num_steps=1)


@pytest.mark.parametrize(
    "change",
    [
        {"size": (2, 32, 24)},
        {"size": (3, 40, 24)},
        {"size": (3, 32, 32)},
        {"frames": FrameChoice(0, 2)},
        {"frames": FrameChoice(1, 1)},
        {"frames": FrameChoice(start_s=0.25, step_s=0.25)},
        {"seed": 1},
        {"fingerprint": "another base"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_anything_else_is_made_anew(
    base: BaseModel, clip: ReferenceClip, cache: Path, change: dict
) -> None:
    cached(clip, base, cache).latents(*SIZE)
    other_clip = replace(clip, frames=change.get("frames", clip.frames))
    other_base = replace(base, fingerprint=change.get("fingerprint", base.fingerprint))
    other = Reference(other_clip, other_base, change.get("seed", 0), cache, cache)
    latents = other.latents(*change.get("size", SIZE))
    num_frames, width, height = change.get("size", SIZE)
    assert latents.shape == (1, 4, num_frames, height // 8, width // 8)
    assert files(cache) == ["latents", "latents"]


def test_a_clip_that_was_edited_is_not_taken_for_the_cached_one(
    base: BaseModel, clip: ReferenceClip, cache: Path
) -> None:
    cached(clip, base, cache).latents(*SIZE)
    cached(clip, base, cache).check_clip_is_unchanged(*SIZE)
    content = Path(clip.path).read_bytes()
    Path(clip.path).write_bytes(content + b"0")
    again = cached(clip, base, cache)
    with pytest.raises(UserError, match=r"clip\.mp4 has changed since its latents in .*delete"):
        again.check_clip_is_unchanged(*SIZE)
    again.check_clip_is_unchanged(2, 32, 24)  # not cached: read when it is needed
    Path(clip.path).unlink()
    again.check_clip_is_unchanged(*SIZE)


def test_latents_of_a_clip_whose_rate_varies_belong_to_their_fps(
    base: BaseModel, clip: ReferenceClip, cache: Path, tmp_path: Path
) -> None:
    frames = [Image.new("L", (32, 32), 15 * index) for index in range(14)]
    delays = [100] * 10 + [500] * 4
    frames[0].save(
        tmp_path / "varying.gif", save_all=True, append_images=frames[1:], duration=delays
    )
    varying = ReferenceClip(str(tmp_path / "varying.gif"), FrameChoice(grid_fps=4))
    latents = cached(varying, base, cache).latents(*SIZE)
    pixels = fit_frames(read_clip(varying.path, varying.frames, 3), 32, 24)
    assert torch.equal(latents, base.codec.encode(pixels, generator(0, "latents")))
    cached(varying, base, cache).check_clip_is_unchanged(*SIZE)
    with pytest.raises(UserError, match=r"latents of .*varying\.gif at another train_data\.fps"):
        cached(
            replace(varying, frames=FrameChoice(grid_fps=5)), base, cache
        ).check_clip_is_unchanged(*SIZE)

    steady = replace(
        clip, frames=FrameChoice(1, 2, grid_fps=4)
    )  # its frames do not depend on the rate
    cached(steady, base, cache).latents(*SIZE)
    cached(
        replace(clip, frames=FrameChoice(1, 2, grid_fps=5)), base, cache
    ).check_clip_is_unchanged(*SIZE)
    cached(clip, base, cache).check_clip_is_unchanged(*SIZE)


def test_another_number_of_steps_inverts_anew(
    base: BaseModel, clip: ReferenceClip, cache: Path
) -> None:
    reference = cached(clip, base, cache)
    one, two = (reference.inversion_noise(*SIZE, num_steps=steps) for steps in (1, 2))
    assert files(cache) == ["inversion", "inversion", "latents"]
    assert not torch.equal(one, two)


@pytest.mark.parametrize("kind", ["another size", "no cache"])
def test_a_clip_that_is_gone_is_an_error_only_when_needed(
    base: BaseModel, clip: ReferenceClip, cache: Path, kind: str
) -> None:
    if kind == "another size":
        cached(clip, base, cache).latents(*SIZE)
    Path(clip.path).unlink()
    with pytest.raises(UserError, match=r"clip\.mp4: there is no such video file"):
        cached(clip, base, cache).latents(2, 32, 24)


def test_without_a_folder_it_is_kept_in_memory(base: BaseModel, clip: ReferenceClip) -> None:
    reference = Reference(clip, base, 0, read_folder=None, write_folder=None)
    latents = reference.latents(*SIZE)
    Path(clip.path).unlink()
    assert torch.equal(reference.latents(*SIZE), latents)


def test_another_folder_is_read_and_not_written(
    base: BaseModel, clip: ReferenceClip, cache: Path, tmp_path: Path
) -> None:
    latents = cached(clip, base, cache).latents(*SIZE)
    Path(clip.path).unlink()
    reference = Reference(clip, base, 0, read_folder=cache, write_folder=tmp_path / "new")
    assert torch.equal(reference.latents(*SIZE), latents)
    reference.inversion_noise(*SIZE, num_steps=1)
    assert files(cache) == ["latents"]
    assert files(tmp_path / "new") == ["inversion"]


def test_inversion_is_the_base_s_under_the_empty_prompt(
    base: BaseModel, clip: ReferenceClip, cache: Path
) -> None:
    reference = cached(clip, base, cache)
    latents = reference.latents(*SIZE)
    noise = reference.inversion_noise(*SIZE, num_steps=2)
    expected = latents
    with torch.no_grad():
        for timestep, lower in ((1, -499), (501, 1)):
            prediction = base.denoiser(expected, timestep, base.text.encode([""])).sample
            expected = ddim_step(expected, prediction, lower, timestep, base.schedule)
    torch.testing.assert_close(noise, expected, rtol=1e-5, atol=1e-5)


def test_inversion_has_the_lora_off(base_folder: Path, clip: ReferenceClip) -> None:
    base = load_base_model(find_base(str(base_folder)), torch.device("cpu"))
    expected = Reference(clip, base, 0, None, None).inversion_noise(*SIZE, num_steps=1)
    add_lora(base.denoiser, 2, ["spatial_conv"], dropout=0.5)
    for weight in base.denoiser.lora_parameters().values():
        weight.data.fill_(0.1)
    base.denoiser.train()
    noise = Reference(clip, base, 0, None, None).inversion_noise(*SIZE, num_steps=1)
    assert torch.equal(noise, expected)
    assert base.denoiser.training


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"noise": torch.zeros(1, 4, 3, 3, 4)}, "does not hold what its name says: delete it"),
        ({}, "does not hold what its name says: delete it"),
        (
            {"latents": torch.zeros(4, 3, 3, 4)},
            r"latents has the shape \[4, 3, 3, 4\], not \[1, 4,",
        ),
        ({"latents": torch.zeros(1, 4, 3, 4, 3)}, r"latents has the shape"),
        ({"latents": torch.zeros(1, 4, 3, 3, 4).int()}, "holds int32 values, not floating-point"),
        ({"latents": torch.full((1, 4, 3, 3, 4), torch.nan)}, "holds NaN or infinity"),
    ],
    ids=["another key", "nothing", "no batch", "transposed", "int32", "nan"],
)
def test_a_cached_file_that_cannot_be_the_latents(
    base: BaseModel, clip: ReferenceClip, cache: Path, tensors: dict[str, Tensor], message: str
) -> None:
    cached(clip, base, cache).latents(*SIZE)
    (file,) = cache.iterdir()
    write_tensors(file, tensors, read_tensors(file)[1])
    with pytest.raises(UserError, match=f"{file.name}.*{message}"):
        cached(clip, base, cache).latents(*SIZE)


def test_a_cached_file_under_another_s_name(
    base: BaseModel, clip: ReferenceClip, cache: Path
) -> None:
    cached(clip, base, cache).latents(*SIZE)
    (wanted,) = cache.iterdir()
    Reference(clip, base, 1, cache, cache).latents(*SIZE)
    (other,) = set(cache.iterdir()) - {wanted}
    other.replace(wanted)
    with pytest.raises(UserError, match=f"{wanted.name} does not hold what its name says"):
        cached(clip, base, cache).latents(*SIZE)


def test_files_of_the_sampled_fingerprint_are_found(
    base: BaseModel, clip: ReferenceClip, cache: Path
) -> None:
    assert base.sampled_fingerprint is not None
    older = replace(base, fingerprint=base.sampled_fingerprint)
    noise = cached(clip, older, cache).inversion_noise(*SIZE, num_steps=1)
    Path(clip.path).unlink()
    assert torch.equal(cached(clip, base, cache).inversion_noise(*SIZE, num_steps=1), noise)
    assert files(cache) == ["inversion", "latents"]


def test_what_is_not_finite_is_not_kept(
    base: BaseModel, clip: ReferenceClip, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> Tensor:
        return torch.full((1, 4, 3, 3, 4), torch.inf)

    with monkeypatch.context() as patch:
        patch.setattr(base.codec, "encode", explode)
        with pytest.raises(NotFiniteError, match="NaN or infinity in the reference's latents"):
            cached(clip, base, cache).latents(*SIZE)
    assert not cache.exists()
    monkeypatch.setattr(reference_module, "invert_reference", lambda *_: Inversion(explode()))
    with pytest.raises(NotFiniteError, match="NaN or infinity in the reference's inversion"):
        cached(clip, base, cache).inversion_noise(*SIZE, num_steps=1)
    assert files(cache) == ["latents"]


# --- published runs


def test_published_latents_are_used(base: BaseModel, cache: Path) -> None:
    cache.mkdir(parents=True)
    published = torch.randn(4, 3, 3, 4)
    torch.save({"latents": torch.randn(4, 9, 3, 4)}, cache / "cached_0.pt")
    torch.save({"latents": published.half(), "prompt": "A cat."}, cache / "cached_1.pt")
    latents = cached(None, base, cache).latents(*SIZE)
    assert latents.dtype == torch.float32
    assert torch.equal(latents, published.half().float()[None])


def test_a_published_run_without_the_wanted_size(base: BaseModel, cache: Path) -> None:
    cache.mkdir(parents=True)
    message = (
        "no reference latents of 3 frames at 32x24, and does not say which clip they come from"
    )
    with pytest.raises(UserError, match=message):
        cached(None, base, cache).latents(*SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"frames": 3}, "is no published cache: it has no 'latents'"),
        ([1, 2], "is no published cache"),
        ({"latents": [1.0]}, "latents is a list, not a tensor"),
        ({"latents": torch.zeros(4, 3, 3, 4).int()}, "latents holds int32 values"),
        ({"latents": torch.full((4, 3, 3, 4), torch.nan)}, "latents holds NaN or infinity"),
    ],
)
def test_a_pickle_of_something_else(
    base: BaseModel, cache: Path, content: object, message: str
) -> None:
    cache.mkdir(parents=True)
    torch.save(content, cache / "cached_0.pt")
    with pytest.raises(UserError, match=f"cached_0.pt:? {message}"):
        cached(None, base, cache).latents(*SIZE)


def test_a_damaged_cache_is_named(base: BaseModel, clip: ReferenceClip, cache: Path) -> None:
    cached(clip, base, cache).latents(*SIZE)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match=f"{file.name} is damaged"):
        cached(clip, base, cache).latents(*SIZE)


def test_files_say_what_they_depend_on(base: BaseModel, clip: ReferenceClip, cache: Path) -> None:
    latents = cached(clip, base, cache).latents(*SIZE)
    (file,) = cache.iterdir()
    assert torch.equal(load_file(file)["latents"], latents)
    assert read_tensors(file)[1] == {
        "clip": {"path": clip.path, "start": 1, "step": 2},
        "num_frames": 3,
        "width": 32,
        "height": 24,
        "base": base.fingerprint,
        "seed": 0,
        "clip_content": sha256(Path(clip.path).read_bytes()).hexdigest()[:16],
    }


def test_the_clip_of_a_run_s_settings() -> None:
    data = TrainData(
        single_video_path="a.mp4", single_video_prompt="", sample_start_idx=4, frame_step=3
    )
    assert ReferenceClip.of(data) == ReferenceClip("a.mp4", FrameChoice(4, 3, grid_fps=24))


def test_a_fingerprint_is_of_the_values() -> None:
    values = torch.randn(2, 3)
    assert tensor_fingerprint(values) == tensor_fingerprint(values.double())
    assert tensor_fingerprint(values) == tensor_fingerprint(values.T.contiguous().T)
    assert tensor_fingerprint(values) != tensor_fingerprint(values + 1e-6)


def test_a_cached_file_is_read_once(
    base: BaseModel, clip: ReferenceClip, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached(clip, base, cache)
    latents, noise = first.latents(*SIZE), first.inversion_noise(*SIZE, num_steps=1)
    read: list[str] = []

    def watched(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        read.append(file.name.split("-")[0])
        return read_tensors(file)

    monkeypatch.setattr(reference_module, "read_tensors", watched)
    again = cached(clip, base, cache)
    again.check_clip_is_unchanged(*SIZE)
    for _ in range(2):
        assert torch.equal(again.latents(*SIZE), latents)
        assert torch.equal(again.inversion_noise(*SIZE, num_steps=1), noise)
    assert read == ["latents", "inversion"]


def test_published_latents_are_read_once(
    base: BaseModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    latents = torch.randn(4, 3, 3, 4)
    torch.save({"latents": latents}, cache / "cached_0.pt")
    read: list[Path] = []

    def watched(file: Path) -> Any:
        read.append(file)
        return read_pickle(file)

    monkeypatch.setattr(reference_module, "read_pickle", watched)
    reference = Reference(None, base, 0, cache, None)
    assert reference.has_latents(*SIZE)
    assert torch.equal(reference.latents(*SIZE)[0], latents)
    assert read == [cache / "cached_0.pt"]
