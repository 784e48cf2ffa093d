"""CLIP models of open_clip and transformers, and the scores computed with them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from evaluation.clip_metrics import appearance_leakage, clip_text_score, frame_consistency
from evaluation.clip_scorer import ClipScorer, check_clip_choice, load_clip
from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError

TINY_OPEN_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


@pytest.fixture
def open_clip_weights(tmp_path: Path) -> Iterator[Path]:
    """A small architecture that open_clip knows for one test, and a file of its weights."""
    config = tmp_path / "tiny-test-clip.json"
    config.write_text(json.dumps(TINY_OPEN_CLIP))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("tiny-test-clip").state_dict(), weights)
    yield weights
    open_clip.factory._MODEL_CONFIGS.pop("tiny-test-clip")


def test_transformers_folder_embeds_as_the_library_does(
    clip_folder: Path, noise_clip: Callable[..., Frames]
) -> None:
    encoder = load_clip(str(clip_folder), "openai", "cpu", batch_size=3)
    frames = noise_clip(num_frames=4)
    model = CLIPModel.from_pretrained(clip_folder)
    pixels = CLIPImageProcessor.from_pretrained(clip_folder)(
        [Image.fromarray(frame) for frame in frames], return_tensors="pt"
    )
    tokens = AutoTokenizer.from_pretrained(clip_folder)(["a bear"], return_tensors="pt")
    with torch.no_grad():
        output = model(**tokens, **pixels)
    expected = output.text_embeds[0] @ output.image_embeds.T  # both are normalised
    embeddings, text = encoder.encode_frames(frames), encoder.encode_text("a bear")
    assert clip_text_score(embeddings, text) == pytest.approx(expected.mean().item(), abs=1e-6)
    assert encoder.name == "tiny-clip"


def test_open_clip_embeds_as_the_library_does(
    open_clip_weights: Path, noise_clip: Callable[..., Frames]
) -> None:
    encoder = load_clip("tiny-test-clip", str(open_clip_weights), "cpu", batch_size=3)
    frames = noise_clip(num_frames=4)
    model, _, preprocess = open_clip.create_model_and_transforms(
        "tiny-test-clip", pretrained=str(open_clip_weights)
    )
    model.eval()
    pixels = torch.stack([preprocess(Image.fromarray(frame)) for frame in frames])
    tokens = open_clip.get_tokenizer("tiny-test-clip")(["a bear"])
    with torch.no_grad():
        images, texts, _ = model(pixels, tokens)  # normalised
    embeddings, text = encoder.encode_frames(frames), encoder.encode_text("a bear")
    expected = (texts @ images.T).mean().item()
    assert clip_text_score(embeddings, text) == pytest.approx(expected, abs=1e-6)
    assert encoder.name == "tiny-test-clip (weights.pt)"


def test_default_is_the_papers_network() -> None:
    """OpenAI's weights were trained with QuickGELU; plain ViT-B-32 has another activation."""
    assert open_clip.get_model_config("ViT-B-32-quickgelu")["quick_gelu"]
    assert "openai" in open_clip.list_pretrained_tags_by_model("ViT-B-32-quickgelu")
    check_clip_choice("ViT-B-32-quickgelu", "openai")


def test_what_is_cut_off_a_prompt_is_said_and_not_read(
    clip_folder: Path, open_clip_weights: Path, noise_clip: Callable[..., Frames]
) -> None:
    prompt = "a b " * 50 + "c d"  # a letter is a token
    for model, weights in ((clip_folder, ""), ("tiny-test-clip", open_clip_weights)):
        encoder = load_clip(str(model), str(weights), "cpu", 4)
        (note,) = ClipScorer(encoder).score(noise_clip(), prompt).notes
        left_out = note.partition('left out: "')[2].removesuffix('"')
        assert prompt.endswith(left_out)
        assert left_out.endswith("c d")
        read = prompt.removesuffix(left_out).rstrip()
        assert encoder.encode_text(prompt).equal(encoder.encode_text(read))
        assert not encoder.encode_text(prompt).equal(encoder.encode_text(read[:-2]))
        assert ClipScorer(encoder).score(noise_clip(), "a bear").notes == ()


def test_scores_of_one_video(clip_folder: Path, noise_clip: Callable[..., Frames]) -> None:
    encoder = load_clip(str(clip_folder), "", "cpu", 4)
    video, reference = noise_clip(seed=1), noise_clip(num_frames=3, seed=2)
    scores = ClipScorer(encoder, reference).score(video, "a bear").values
    embeddings = encoder.encode_frames(video)
    assert scores == {
        "clip_t": clip_text_score(embeddings, encoder.encode_text("a bear")),
        "frame_consistency": frame_consistency(embeddings),
        "leakage": appearance_leakage(embeddings, encoder.encode_frames(reference)),
    }
    assert "leakage" not in ClipScorer(encoder).score(video, "a bear").values


def test_leakage_is_highest_for_the_reference_itself(
    clip_folder: Path, noise_clip: Callable[..., Frames]
) -> None:
    encoder = load_clip(str(clip_folder), "", "cpu", 4)
    still = np.repeat(noise_clip(num_frames=1, seed=3), 4, axis=0)
    scorer = ClipScorer(encoder, still)
    assert scorer.score(still, "a").values["leakage"] == pytest.approx(1.0)
    assert scorer.score(noise_clip(seed=4), "a").values["leakage"] < 1.0


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("ViT-B-23-quickgelu", "openai", "Did you mean 'ViT-B-32-quickgelu'"),
        ("ViT-B-32-quickgelu", "laion9", r"neither a file nor a tag of ViT-B-32.*\(openai, "),
        ("no/such/folder", "openai", "neither an open_clip architecture nor a folder"),
    ],
)
def test_a_model_that_cannot_be(model: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_clip_choice(model, weights)


def test_weights_of_another_model(open_clip_weights: Path, tmp_path: Path) -> None:
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "other.pt")
    message = r"other\.pt' of tiny-test-clip cannot be loaded: the file is of another model"
    with pytest.raises(UserError, match=message):
        load_clip("tiny-test-clip", str(tmp_path / "other.pt"), "cpu", 4)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", b"# A text\n"),
        ("empty.pt", b""),
        ("lying.safetensors", b"\xff" * 64),
        ("list.pt", [torch.zeros(2)]),
        ("numbers.pt", {"state_dict": {"visual.proj": 3}}),
        ("none.pt", {"state_dict": None}),
    ],
)
def test_a_file_that_is_no_checkpoint(
    open_clip_weights: Path, tmp_path: Path, name: str, content: Any
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    message = (
        f"{name}' of tiny-test-clip cannot be loaded: the file is no checkpoint, or a damaged one"
    )
    with pytest.raises(UserError, match=message) as caught:
        load_clip("tiny-test-clip", str(tmp_path / name), "cpu", 4)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_folder_with_a_part_missing(clip_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    with pytest.raises(UserError, match="is not a whole CLIP folder"):
        load_clip(str(broken), "", "cpu", 4)
    (broken / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="is not a whole CLIP folder"):
        load_clip(str(broken), "", "cpu", 4)
