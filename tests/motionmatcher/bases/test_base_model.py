"""Base models are loaded from every layout they are published in, and compute in little memory."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import networks
from torch import Tensor
from transformers import CLIPTokenizer

from motionmatcher.bases import codecs
from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.texts import ClipText
from motionmatcher.errors import NotFiniteError, UserError
from motionmatcher.random_streams import generator

CPU = torch.device("cpu")
PARTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def load(folder: Path) -> BaseModel:
    return load_base_model(find_base(str(folder)), CPU)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> BaseModel:
    return load(base_folder)


@pytest.fixture
def folder(base_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base_folder, tmp_path / "base")


def to_pickles(folder: Path) -> None:
    """The form of older publications: *.bin, and `pytorch_model` for transformers."""
    for part, stem in PARTS.items():
        file = folder / part / f"{stem}.safetensors"
        name = stem.replace("model", "pytorch_model") if part == "text_encoder" else stem
        torch.save(load_file(file), folder / part / f"{name}.bin")
        file.unlink()


def to_fp16_names(folder: Path) -> None:
    for part, stem in PARTS.items():
        file = folder / part / f"{stem}.safetensors"
        file.rename(file.with_name(f"{stem}.fp16.safetensors"))


@pytest.mark.parametrize("change", [to_pickles, to_fp16_names])
def test_every_layout_of_weights(
    base: BaseModel, folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    loaded = load(folder)
    for part in PARTS:
        ours, theirs = (networks(model)[part].state_dict() for model in (loaded, base))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), part


def test_everything_is_frozen_and_in_eval_mode(base: BaseModel) -> None:
    for part in networks(base).values():
        assert not any(weight.requires_grad for weight in part.parameters())
        assert not any(module.training for module in part.modules())
        assert {weight.dtype for weight in part.parameters()} == {torch.float32}


def test_the_unet_s_dtype_is_chosen(base_folder: Path, base: BaseModel) -> None:
    half = load_base_model(find_base(str(base_folder)), CPU, torch.bfloat16)
    assert half.denoiser.weight_dtype == torch.bfloat16
    assert {weight.dtype for weight in half.denoiser.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in half.codec.vae.parameters()} == {torch.float32}
    assert isinstance(half.text, ClipText)
    assert {weight.dtype for weight in half.text.encoder.parameters()} == {torch.float32}
    latents, states = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 7, 32)
    with torch.no_grad():
        prediction = half.denoiser.predict(latents, 500, states)
        exact = base.denoiser.predict(latents, 500, states)
    assert prediction.dtype == torch.float32
    assert torch.equal(prediction, prediction.bfloat16().float()), "computed in half precision"
    assert (prediction - exact).norm() < 0.1 * exact.norm()


def test_missing_weights(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights for vae\. Copy it anew"):
        load(folder)


# --- text


def old_tokenizer_files(folder: Path, pad_token: str) -> None:
    """Rewrite a tokenizer in the form Zeroscope publishes, without tokenizer.json."""
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    merges = [
        " ".join(pair) if isinstance(pair, list) else pair for pair in content["model"]["merges"]
    ]
    for file in folder.iterdir():
        file.unlink()
    special = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = ({"content": token, **special} for token in ("<|startoftext|>", "<|endoftext|>"))
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    tokens: dict[str, Any] = {"bos_token": start, "eos_token": end, "unk_token": end}
    tokens["pad_token"] = pad_token
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    typed = {name: {"__type": "AddedToken", **tokens[name]} for name in ("bos_token", "eos_token")}
    config = {
        "add_prefix_space": False,
        **typed,
        "unk_token": typed["eos_token"],
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": pad_token,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("pad_token", ["<|endoftext|>", "!"])
def test_the_tokenizer_in_zeroscope_s_layout(folder: Path, base: BaseModel, pad_token: str) -> None:
    vocabulary = base.text.tokenizer.get_vocab()
    for token, spare in (("ca", "Ń"), ("cat</w>", "Ń</w>")):  # which no prompt below has
        vocabulary[token] = vocabulary.pop(spare)
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=[("c", "a"), ("ca", "t</w>")],
        model_max_length=77,
        pad_token=pad_token,
    )
    tokenizer.save_pretrained(folder / "tokenizer")
    prompts = ["A cat, walking on ROCKS.", "", "cat  café!"]

    def ids(tokenizer: CLIPTokenizer) -> Tensor:
        return tokenizer(
            prompts, padding="max_length", max_length=77, return_tensors="pt"
        ).input_ids

    expected = ids(load(folder).text.tokenizer)
    assert vocabulary["cat</w>"] in expected[0]
    pad = base.text.tokenizer.get_vocab()[pad_token]
    start, end = (base.text.tokenizer.get_vocab()[t] for t in ("<|startoftext|>", "<|endoftext|>"))
    assert expected[1].tolist() == [start, end] + [pad] * 75
    old_tokenizer_files(folder / "tokenizer", pad_token)
    loaded = load(folder)
    assert torch.equal(ids(loaded.text.tokenizer), expected)
    assert loaded.text.tokenizer.model_max_length == 77


def test_prompts_are_encoded_one_by_one(base: BaseModel) -> None:
    states = base.text.encode(["A bear.", "", "A cat."])
    assert states.shape == (3, 77, 32)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states[1:2], base.text.encode([""]), rtol=0, atol=1e-5)
    tokens = base.text.tokenizer(
        ["A cat."], padding="max_length", max_length=77, return_tensors="pt"
    )
    assert isinstance(base.text, ClipText)
    expected = base.text.encoder(tokens.input_ids).last_hidden_state
    torch.testing.assert_close(states[2:], expected, rtol=0, atol=1e-5)
    assert not torch.allclose(states[0], states[2])


def test_long_prompts_are_cut_at_77_tokens(base: BaseModel) -> None:
    short = base.text.encode(["a" * 75])
    long = base.text.encode(["a" * 75 + "b" * 100])
    assert long.shape == (1, 77, 32)
    # Both are start, 75 characters and end; only the last "a" also ends a word in the short one.
    torch.testing.assert_close(long[:, :75], short[:, :75], rtol=0, atol=1e-5)
    cut = base.text.tokenizer(["a" * 200], truncation=True, max_length=77).input_ids[0]
    assert len(cut) == 77
    assert cut[-1] == base.text.tokenizer.eos_token_id


# --- frames and latents


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.randint(
        0, 256, (5, 3, 32, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def test_encoding_by_hand(base: BaseModel, frames: Tensor) -> None:
    latents = base.codec.encode(frames, generator(0, "latents"))
    assert latents.shape == (1, 4, 5, 4, 5)
    assert latents.is_contiguous()
    with torch.no_grad():
        posterior = base.codec.vae.encode(frames.float() / 255 * 2 - 1).latent_dist
    draw = torch.randn(5, 4, 4, 5, generator=generator(0, "latents"))
    expected = (posterior.mean + posterior.std * draw) * base.codec.vae.config.scaling_factor
    torch.testing.assert_close(latents[0].transpose(0, 1), expected, rtol=1e-4, atol=1e-5)
    assert posterior.std.mean() > 1e-3, "the draw must matter"


def test_decoding_by_hand(base: BaseModel) -> None:
    latents = torch.randn(4, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    video = base.codec.decode(latents)
    assert video.shape == (3, 32, 40, 3)
    assert video.dtype == np.uint8
    with torch.no_grad():
        pixels = base.codec.vae.decode(
            latents[:, 1][None] / base.codec.vae.config.scaling_factor
        ).sample
    expected = (pixels[0] / 2 + 0.5).clamp(0, 1) * 255
    difference = torch.from_numpy(video[1]).permute(2, 0, 1).float() - expected
    assert difference.abs().max() <= 0.51


def test_slices_give_what_the_whole_gives(
    base: BaseModel, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_latents = base.codec.encode(frames, generator(0, "latents"))
    whole_video = base.codec.decode(whole_latents[0])
    sizes = []
    original = base.codec.vae.decode
    monkeypatch.setattr(codecs, "VAE_SLICE_PIXELS", 2 * 32 * 40)

    def decode(part: Tensor) -> Any:
        sizes.append(len(part))
        return original(part)

    monkeypatch.setattr(base.codec.vae, "decode", decode)
    latents = base.codec.encode(frames, generator(0, "latents"))
    video = base.codec.decode(whole_latents[0])
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(latents, whole_latents, rtol=1e-4, atol=1e-5)
    assert np.abs(video.astype(int) - whole_video).max() <= 1


def test_a_frame_larger_than_a_slice_goes_alone(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "VAE_SLICE_PIXELS", 100)
    assert base.codec.decode(torch.zeros(4, 2, 2, 2)).shape == (2, 16, 16, 3)


def test_shapes_of_latents(base: BaseModel) -> None:
    assert base.codec.latent_shape(num_frames=6, width=80, height=64) == (4, 6, 8, 10)


def test_damaged_and_incomplete_weights(base_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(base_folder, base)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_out.bias"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"unet lack 1 tensors, such as conv_out\.bias"):
        load_base_model(find_base(str(base)), torch.device("cpu"))
    weights.write_text("no tensors")
    with pytest.raises(UserError, match=r"the weights in .*unet are damaged"):
        load_base_model(find_base(str(base)), torch.device("cpu"))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(folder: Path, part: str, value: float) -> None:
    file = folder / part / f"{PARTS[part]}.safetensors"
    weights = load_file(file)
    name = sorted(weights)[3]
    weights[name].view(-1)[-1] = value
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=rf"weights in {folder / part} hold NaN or infinity in 1 ten"
    ):
        load(folder)


def test_weights_beyond_half_precision_are_named(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.bias"][0] = 1e6  # finite, but not in fp16
    save_file(weights, file, metadata={"format": "pt"})
    load(folder)
    message = r"such as conv_in\.bias: use sound weights .*, or mixed_precision bf16 or no\."
    with pytest.raises(UserError, match=message):
        load_base_model(find_base(str(folder)), CPU, torch.float16)


def test_frames_that_are_not_finite_are_not_shown(base: BaseModel) -> None:
    latents = torch.zeros(4, 2, 4, 4)
    latents[0, 1, 2, 3] = torch.nan
    with pytest.raises(
        NotFiniteError, match="NaN or infinity in the decoded frames: the latents are"
    ):
        base.codec.decode(latents)


def test_what_a_file_records_of_its_base(base: BaseModel, folder: Path) -> None:
    assert base.note_on_record(None, "a LoRA") is None
    assert base.note_on_record(base.fingerprint, "a LoRA") is None
    older = base.note_on_record(find_base(str(folder)).sampled_fingerprint(), "a LoRA")
    assert older is not None
    assert older.startswith("a LoRA records its base by an older fingerprint")
    assert (
        base.note_on_record("f" * 16, "a LoRA")
        == "a LoRA was trained on another base than this one."
    )
