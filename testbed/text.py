"""The small CLIP of Moving Shapes: its text side starts the base's, its whole scores videos.

Single frames are contrasted with captions. Two of a batch that look alike by name (same colour,
shape and background) are both right answers. Besides, the image side names these four from its
embedding, which makes learning from scratch fast; those heads do not ship.

"R@1 among 100 captions" is measured on 100 combinations of colour, shape and background that were
never seen in training, one clip each, the clip's embedding being the mean of its frames'.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from testbed.autoencoder import images_to_tensor
from testbed.captions import appearance_caption, write_caption
from testbed.config import PretrainConfig, TextConfig
from testbed.renderer import (
    BACKGROUND_COLORS,
    BACKGROUND_STYLES,
    FRAME_SIZE,
    OBJECT_COLORS,
    SHAPES,
    Scene,
    render,
    render_frame,
)
from testbed.scenes import sample_scene, scene_stream
from testbed.stage import StageState, cosine_schedule, read_averaged_weights, run_stage
from testbed.tokenizer import MAX_TOKENS, build_tokenizer

ATTRIBUTES = (tuple(OBJECT_COLORS), tuple(SHAPES), BACKGROUND_STYLES, tuple(BACKGROUND_COLORS))
MOTION_CAPTION_PROBABILITY = 0.5
ATTRIBUTE_WEIGHT = 0.5
EMBEDDING_SIZE = 128
PATCH_SIZE = 8


class ClipTrainer(nn.Module):
    """The small CLIP with heads that name the attributes.

    Args:
        settings: Sizes.
        tokenizer: Its vocabulary.
    """

    def __init__(self, settings: TextConfig, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.clip = CLIPModel(_clip_config(settings, tokenizer))
        self.heads = nn.ModuleList(nn.Linear(EMBEDDING_SIZE, len(names)) for names in ATTRIBUTES)

    def forward(self, images: Tensor, token_ids: Tensor, attributes: Tensor) -> dict[str, Tensor]:
        """Compute the loss and values of a batch.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            token_ids: (B, T) captions.
            attributes: (B, 4) indices into `ATTRIBUTES`.

        Returns:
            "loss" and "retrieval", the part of captions whose best image is a right one.
        """
        mask = attention_mask(token_ids, self.clip.config.text_config.eos_token_id)
        image_embeddings = self.clip.get_image_features(pixel_values=images).pooler_output
        text_embeddings = self.clip.get_text_features(
            input_ids=token_ids, attention_mask=mask
        ).pooler_output
        logits = (
            F.normalize(text_embeddings, dim=1) @ F.normalize(image_embeddings, dim=1).T
        ) * self.clip.logit_scale.exp().clamp(max=100)  # (B texts, B images)
        alike = (attributes[:, None] == attributes[None]).all(dim=2).float()  # (B, B)
        targets = alike / alike.sum(dim=1, keepdim=True)
        contrast = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        naming = sum(
            F.cross_entropy(head(image_embeddings), attributes[:, index])
            for index, head in enumerate(self.heads)
        )
        retrieval = alike.gather(1, logits.argmax(dim=1, keepdim=True)).mean()
        return {"loss": contrast + ATTRIBUTE_WEIGHT * naming, "retrieval": retrieval.detach()}


def attention_mask(token_ids: Tensor, end_token: int) -> Tensor:
    """Mark the tokens (B, T) up to and with the first end token with 1, the padding with 0."""
    ends = (token_ids == end_token).int()
    return (ends.cumsum(dim=1) - ends == 0).long()


def _clip_config(settings: TextConfig, tokenizer: CLIPTokenizer) -> CLIPConfig:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": settings.hidden_size,
        "intermediate_size": 4 * settings.hidden_size,
        "num_hidden_layers": settings.num_layers,
        "num_attention_heads": settings.hidden_size // 32,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": EMBEDDING_SIZE,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": settings.image_hidden_size,
        "intermediate_size": 4 * settings.image_hidden_size,
        "num_hidden_layers": settings.image_num_layers,
        "num_attention_heads": settings.image_hidden_size // 32,
        "image_size": FRAME_SIZE,
        "patch_size": PATCH_SIZE,
        "projection_dim": EMBEDDING_SIZE,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING_SIZE)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Turn captions into (B, 32) token ids, padded."""
    batch = tokenizer(
        captions,
        padding="max_length",
        max_length=MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = batch.input_ids
    return ids


def attribute_indices(scene: Scene) -> list[int]:
    """Say where in `ATTRIBUTES` the four attributes of a scene are."""
    values = (scene.color, scene.shape, scene.background.style, scene.background.color)
    return [names.index(value) for names, value in zip(ATTRIBUTES, values, strict=True)]


def _clip_batch(
    tokenizer: CLIPTokenizer, seed: int, step: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the frames, captions and attributes of one training step."""
    images, captions, attributes = [], [], []
    for index in range(step * batch_size, (step + 1) * batch_size):
        rng = scene_stream(seed, "train", index)
        scene = sample_scene(rng, "train")
        images.append(render_frame(scene, int(rng.integers(scene.num_frames)))[0])
        attributes.append(attribute_indices(scene))
        appearance = appearance_caption(
            scene.color, scene.shape, scene.background.style, scene.background.color
        )
        moving = rng.random() < MOTION_CAPTION_PROBABILITY
        captions.append(write_caption(scene, rng) if moving else appearance)
    tokens = tokenize(tokenizer, captions)
    return images_to_tensor(np.stack(images)), tokens, torch.tensor(attributes)


def train_text(config: PretrainConfig, stop_after: int | None = None) -> bool:
    """Train the small CLIP, or go on with it; returns True when it is complete."""
    settings, seed = config.text, config.seed
    assert settings is not None
    tokenizer = build_tokenizer()
    torch.manual_seed(seed + 1)
    model = ClipTrainer(settings, tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=0.05, betas=(0.9, 0.98)
    )

    def compute_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        results = model(*_clip_batch(tokenizer, seed, step, settings.batch_size))
        return results["loss"], {"retrieval": float(results["retrieval"])}

    return run_stage(
        "text",
        StageState(model, optimizer, ema_decay=0.995),
        settings.num_steps,
        compute_loss,
        lambda step: cosine_schedule(step, settings.num_steps, warmup=100),
        text_state_path(config),
        config.checkpoint_minutes,
        stop_after,
    )


def text_state_path(config: PretrainConfig) -> Path:
    """Where the small CLIP's training state is."""
    return config.state_dir / "text.safetensors"


def load_clip(config: PretrainConfig) -> tuple[CLIPModel, CLIPTokenizer]:
    """Load the averaged small CLIP, in eval mode, and its tokenizer."""
    tokenizer = build_tokenizer()
    if config.text is None:
        return CLIPModel.from_pretrained(config.clip_dir).float().requires_grad_(False), tokenizer
    model = ClipTrainer(config.text, tokenizer)
    weights, _ = read_averaged_weights(text_state_path(config))
    model.load_state_dict(weights)
    return model.clip.eval().requires_grad_(False), tokenizer


@torch.no_grad()
def measure_retrieval(
    clip: CLIPModel, tokenizer: CLIPTokenizer, seed: int, num_captions: int = 100
) -> dict[str, float]:
    """Measure R@1 of captions of held-out appearances against as many clips.

    Args:
        clip: The model.
        tokenizer: Its tokenizer.
        seed: Fixes the clips.
        num_captions: Distinct captions, each with one clip.

    Returns:
        "clip_r1" with the mean embedding of all frames, "frame_r1" with that of one frame.
    """
    scenes: dict[str, Scene] = {}
    index = 0
    while len(scenes) < num_captions:
        scene = sample_scene(scene_stream(seed, "test", index), "test")
        look = (scene.color, scene.shape, scene.background.style, scene.background.color)
        scenes.setdefault(appearance_caption(*look), scene)
        index += 1
    tokens = tokenize(tokenizer, list(scenes))
    text = clip.get_text_features(
        input_ids=tokens, attention_mask=attention_mask(tokens, tokenizer.eos_token_id)
    ).pooler_output
    frames = torch.stack(
        [
            clip.get_image_features(pixel_values=images_to_tensor(render(scene))).pooler_output
            for scene in scenes.values()
        ]
    )  # (captions, F, D)
    frames = F.normalize(frames, dim=2)
    right = torch.arange(num_captions)

    def recall(videos: Tensor) -> float:
        similarity = F.normalize(text, dim=1) @ F.normalize(videos, dim=1).T
        return float((similarity.argmax(dim=1) == right).float().mean())

    return {"clip_r1": recall(frames.mean(dim=1)), "frame_r1": recall(frames[:, 0])}
