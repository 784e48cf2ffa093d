"""ImageReward's network, and the loading of a checkpoint with the published names."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import evaluation.image_reward as image_reward
from evaluation.image_reward import (
    ImageRewardNetwork,
    ImageRewardScorer,
    NetworkSize,
    load_network,
)
from evaluation.image_reward_files import find_files
from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError

SMALL = NetworkSize(
    image_size=32,
    patch_size=16,
    vision_width=32,
    vision_layers=2,
    vision_heads=2,
    vision_mlp=48,
    text_width=24,
    text_layers=2,
    text_heads=2,
    text_mlp=40,
    vocabulary=20,
    positions=40,
    head_widths=(16, 12, 8, 4),
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "bear", "walking", "on", "the", "beach"]


def published_shapes(size: NetworkSize) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published checkpoint, written down from its key scheme."""
    d, t, patches = size.vision_width, size.text_width, (size.image_size // size.patch_size) ** 2

    def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    vision, text = "blip.visual_encoder", "blip.text_encoder"
    shapes: dict[str, tuple[int, ...]] = {
        f"{vision}.cls_token": (1, 1, d),
        f"{vision}.pos_embed": (1, patches + 1, d),
        f"{vision}.patch_embed.proj.weight": (d, 3, size.patch_size, size.patch_size),
        f"{vision}.patch_embed.proj.bias": (d,),
        **norm(f"{vision}.norm", d),
        f"{text}.embeddings.position_ids": (1, size.positions),
        f"{text}.embeddings.word_embeddings.weight": (size.vocabulary, t),
        f"{text}.embeddings.position_embeddings.weight": (size.positions, t),
        **norm(f"{text}.embeddings.LayerNorm", t),
        **linear("blip.vision_proj", d, 256),
        **linear("blip.text_proj", t, 256),
    }
    for layer in range(size.vision_layers):
        block = f"{vision}.blocks.{layer}"
        shapes |= norm(f"{block}.norm1", d) | norm(f"{block}.norm2", d)
        shapes |= linear(f"{block}.attn.qkv", d, 3 * d) | linear(f"{block}.attn.proj", d, d)
        shapes |= linear(f"{block}.mlp.fc1", d, size.vision_mlp)
        shapes |= linear(f"{block}.mlp.fc2", size.vision_mlp, d)
    for layer in range(size.text_layers):
        block = f"{text}.encoder.layer.{layer}"
        for attention, source in (("attention", t), ("crossattention", d)):
            shapes |= linear(f"{block}.{attention}.self.query", t, t)
            shapes |= linear(f"{block}.{attention}.self.key", source, t)
            shapes |= linear(f"{block}.{attention}.self.value", source, t)
            shapes |= linear(f"{block}.{attention}.output.dense", t, t)
            shapes |= norm(f"{block}.{attention}.output.LayerNorm", t)
        shapes |= linear(f"{block}.intermediate.dense", t, size.text_mlp)
        shapes |= linear(f"{block}.output.dense", size.text_mlp, t)
        shapes |= norm(f"{block}.output.LayerNorm", t)
    widths = (t, *size.head_widths, 1)
    for place, (inputs, outputs) in zip((0, 2, 4, 6, 7), itertools.pairwise(widths), strict=True):
        shapes |= linear(f"mlp.layers.{place}", inputs, outputs)
    return shapes


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.3
        for name, shape in published_shapes(SMALL).items()
    }
    path = tmp_path / "ImageReward.pt"
    torch.save(weights, path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return path


@pytest.fixture
def scorer(checkpoint: Path) -> ImageRewardScorer:
    return ImageRewardScorer(checkpoint, checkpoint.parent / "vocab.txt", "cpu", 3, SMALL)


def test_published_size() -> None:
    with torch.device("meta"):
        network = ImageRewardNetwork()
    # ViT-L/16 at 224, BERT-base with cross-attention to it, and the head.
    assert sum(p.numel() for p in network.vision.parameters()) == 303_301_632
    head = [module for module in network.head if isinstance(module, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in head] == [
        (768, 1024),
        (1024, 128),
        (128, 64),
        (64, 16),
        (16, 1),
    ]
    dropouts = [module.p for module in network.head if isinstance(module, nn.Dropout)]
    assert dropouts == [0.2, 0.2, 0.1]
    cross = network.text.encoder.layer[11].crossattention.self
    assert (cross.key.in_features, cross.key.out_features) == (1024, 768)
    assert network.text.embeddings.word_embeddings.num_embeddings == 30524
    assert network.vision.post_layernorm.eps == 1e-6
    assert network.text.embeddings.LayerNorm.eps == 1e-12


def test_every_weight_of_the_checkpoint_arrives_in_its_place(checkpoint: Path) -> None:
    published = torch.load(checkpoint)
    network = load_network(checkpoint, SMALL)
    loaded = dict(network.named_parameters())
    places = {
        "blip.visual_encoder.cls_token": "vision.embeddings.class_embedding",
        "blip.visual_encoder.blocks.1.attn.proj.weight": (
            "vision.encoder.layers.1.self_attn.projection.weight"
        ),
        "blip.visual_encoder.blocks.0.norm2.bias": "vision.encoder.layers.0.layer_norm2.bias",
        "blip.visual_encoder.norm.weight": "vision.post_layernorm.weight",
        "blip.text_encoder.encoder.layer.1.crossattention.self.key.weight": (
            "text.encoder.layer.1.crossattention.self.key.weight"
        ),
        "mlp.layers.7.weight": "head.7.weight",
    }
    for published_name, name in places.items():
        assert torch.equal(loaded[name], published[published_name])
    used = [name for name in published if "_proj." not in name and "position_ids" not in name]
    assert len(loaded) == len(used)


def test_the_head_and_the_normalisation_by_hand(checkpoint: Path) -> None:
    published = torch.load(checkpoint)
    network = load_network(checkpoint, SMALL).eval()
    pixels, tokens = torch.randn(2, 3, 32, 32), torch.tensor([[2, 5, 6, 3, 0]])
    mask = (tokens != 0).long()
    with torch.no_grad():
        states = network.text(
            input_ids=tokens.expand(2, -1),
            attention_mask=mask.expand(2, -1),
            encoder_hidden_states=network.vision(pixel_values=pixels).last_hidden_state,
        ).last_hidden_state[:, 0]
        scores = network(pixels, tokens, mask)
        padded = network(
            pixels, torch.tensor([[2, 5, 6, 3, 0, 9]]), torch.tensor([[1] * 4 + [0] * 2])
        )
    for place in (0, 2, 4, 6, 7):
        weight, bias = (published[f"mlp.layers.{place}.{kind}"] for kind in ("weight", "bias"))
        states = states @ weight.T + bias
    by_hand = (states[:, 0] - 0.16717362830052426) / 1.0333394966054072
    torch.testing.assert_close(scores, by_hand)
    torch.testing.assert_close(padded, scores)  # padding is not read


def test_attention_is_not_causal(checkpoint: Path) -> None:
    network = load_network(checkpoint, SMALL).eval()
    pixels, mask = torch.randn(1, 3, 32, 32), torch.ones(1, 4, dtype=torch.long)
    with torch.no_grad():  # the first token's state, which is scored, sees the last one
        one = network(pixels, torch.tensor([[2, 5, 6, 3]]), mask)
        other = network(pixels, torch.tensor([[2, 5, 6, 7]]), mask)
    assert (one - other).abs().item() > 1e-5


def test_score_is_the_mean_over_frames_whatever_the_batch(
    scorer: ImageRewardScorer, noise_clip: Callable[..., Frames]
) -> None:
    clip = noise_clip(num_frames=5)
    score = scorer.score(clip, "a bear walking on the beach").values["image_reward"]
    singles = [
        scorer.score_frames(frame[None], "a bear walking on the beach").item() for frame in clip
    ]
    assert score == pytest.approx(np.mean(singles), abs=1e-5)
    assert np.std(singles) > 1e-3
    assert scorer.score(clip, "the beach").values["image_reward"] != pytest.approx(score, abs=1e-4)
    longer_than_35_tokens = scorer.score(clip, "a bear " * 40).values["image_reward"]
    assert longer_than_35_tokens == scorer.score(clip, "a bear " * 60).values["image_reward"]


def test_what_is_cut_off_a_prompt_is_said(
    scorer: ImageRewardScorer, noise_clip: Callable[..., Frames]
) -> None:
    (note,) = scorer.score(noise_clip(), "a bear " * 16 + "on the beach").notes
    assert note.endswith('only 35 tokens are read; left out: "the beach"')
    assert scorer.score(noise_clip(), "a bear " * 16).notes == ()


def test_images_are_scaled_and_cropped_at_the_centre(scorer: ImageRewardScorer) -> None:
    wide = np.zeros((48, 96, 3), np.uint8)
    wide[:, 24:72] = 200  # what remains of it
    from PIL import Image

    pixels = scorer.preprocess(Image.fromarray(wide))
    assert pixels.shape == (3, 32, 32)
    expected = (200 / 255 - 0.48145466) / 0.26862954
    assert pixels[0, :, 2:-2].mean().item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda weights: weights.pop("mlp.layers.7.bias"), r"lacks 1 weights \(head\.7\.bias"),
        (
            lambda weights: weights.pop("blip.visual_encoder.blocks.1.norm1.weight"),
            "lacks 1 weights",
        ),
        (
            lambda weights: weights.update({"blip.extra.weight": torch.zeros(1)}),
            r"has unknown 1 weights \(blip\.extra\.weight",
        ),
        (
            lambda weights: weights.update({"mlp.layers.7.bias": torch.zeros(2)}),
            "is of another network: .*size mismatch for head.7.bias",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    checkpoint: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    weights = torch.load(checkpoint)
    edit(weights)
    torch.save(weights, checkpoint)
    with pytest.raises(UserError, match=message):
        load_network(checkpoint, SMALL)


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_text("no checkpoint")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_network(tmp_path / "x.pt", SMALL)


def test_missing_files_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hf download THUDM/ImageReward ImageReward\.pt"):
        find_files(str(tmp_path / "ImageReward.pt"))
    (tmp_path / "ImageReward.pt").touch()
    with pytest.raises(UserError, match=r"hf download google-bert/bert-base-uncased vocab\.txt"):
        find_files(str(tmp_path / "ImageReward.pt"))


def test_script(
    checkpoint: Path,
    video_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import sys

    import imagereward

    monkeypatch.setattr(image_reward.ImageRewardScorer.__init__, "__defaults__", (SMALL,))
    arguments = ["--output_dir", str(video_folder), "--prompt", "a bear"]
    arguments += ["--imagereward_ckpt", str(checkpoint), "--json", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["imagereward", *arguments])
    assert imagereward.main() == 0
    output = capsys.readouterr().out
    assert "ImageReward: " in output
    scores = json.loads((tmp_path / "r.json").read_text())["folders"][0]
    assert scores["mean"]["image_reward"]["n"] == 2
