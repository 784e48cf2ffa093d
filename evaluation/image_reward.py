"""ImageReward-v1.0 (Xu et al., NeurIPS 2023) on the BLIP parts of transformers.

The published package pins libraries that cannot live beside today's, so its checkpoint is loaded
into the same network put together here: a ViT sees the image, BERT reads the prompt with
cross-attention to it, and a linear head scores the state of BERT's first token.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    BlipVisionModel,
)

from evaluation.metrics import IMAGE_REWARD
from evaluation.scoring import Setting, VideoScores
from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError
from motionmatcher.prompts import cut_off_note

# The published scores have mean 0 and standard deviation 1 over the training set.
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_TOKENS = 35


@dataclass(frozen=True)
class NetworkSize:
    """Sizes of the network; the defaults are the published ones (ViT-L/16 and BERT-base)."""

    image_size: int = 224
    patch_size: int = 16
    vision_width: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    vision_mlp: int = 4096
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_mlp: int = 3072
    vocabulary: int = 30524
    positions: int = 512
    head_widths: tuple[int, ...] = (1024, 128, 64, 16)


PUBLISHED_SIZE = NetworkSize()


class ImageRewardNetwork(nn.Module):
    """The network alone: pixels and tokens to scores."""

    def __init__(self, size: NetworkSize = PUBLISHED_SIZE) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.vision = BlipVisionModel(
            BlipVisionConfig(
                image_size=size.image_size,
                patch_size=size.patch_size,
                hidden_size=size.vision_width,
                num_hidden_layers=size.vision_layers,
                num_attention_heads=size.vision_heads,
                intermediate_size=size.vision_mlp,
                layer_norm_eps=1e-6,
            )
        )
        self.text = BlipTextModel(
            BlipTextConfig(
                vocab_size=size.vocabulary,
                max_position_embeddings=size.positions,
                hidden_size=size.text_width,
                num_hidden_layers=size.text_layers,
                num_attention_heads=size.text_heads,
                intermediate_size=size.text_mlp,
                encoder_hidden_size=size.vision_width,
                layer_norm_eps=1e-12,
                is_decoder=True,  # gives the layers their cross-attention
            ),
            add_pooling_layer=False,
        )
        first, second, third, fourth = size.head_widths
        self.head = nn.Sequential(  # without activations, as published
            nn.Linear(size.text_width, first),
            nn.Dropout(0.2),
            nn.Linear(first, second),
            nn.Dropout(0.2),
            nn.Linear(second, third),
            nn.Dropout(0.1),
            nn.Linear(third, fourth),
            nn.Linear(fourth, 1),
        )

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Score images for one prompt.

        Args:
            pixels: Normalised images, (F, 3, H, W).
            tokens: The prompt's token ids, (1, T).
            mask: 1 for tokens and 0 for padding, (1, T).

        Returns:
            Scores, (F,).
        """
        image_states = self.vision(pixel_values=pixels).last_hidden_state  # (F, patches + 1, D)
        states = self.text(
            input_ids=tokens.expand(len(pixels), -1),
            attention_mask=mask.expand(len(pixels), -1),
            encoder_hidden_states=image_states,
            is_decoder=False,  # not causal
        ).last_hidden_state  # (F, T, D)
        score = self.head(states[:, 0]).squeeze(-1)
        return (score - SCORE_MEAN) / SCORE_STD


class ImageRewardScorer:
    """Mean ImageReward over a video's frames."""

    metrics = (IMAGE_REWARD,)

    def __init__(
        self,
        checkpoint: Path,
        vocabulary: Path,
        device: str,
        batch_size: int,
        size: NetworkSize = PUBLISHED_SIZE,
    ) -> None:
        """Load the checkpoint and the vocabulary.

        Args:
            checkpoint: `ImageReward.pt`, or a file with the same keys.
            vocabulary: `vocab.txt` of bert-base-uncased.
            device: Where to compute.
            batch_size: Frames scored at a time.
            size: Of the network in the checkpoint.

        Raises:
            UserError: The checkpoint does not fit the network.
        """
        self.network = load_network(checkpoint, size).to(device).eval()
        self.tokenizer = BertTokenizer(vocab=str(vocabulary), do_lower_case=True)
        self.preprocess = transforms.Compose(
            [
                transforms.Resize(size.image_size, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(size.image_size),
                transforms.ToTensor(),
                transforms.Normalize(PIXEL_MEAN, PIXEL_STD),
            ]
        )
        self.device, self.batch_size = device, batch_size
        self.settings: dict[str, Setting] = {"imagereward": checkpoint.name}

    def score(self, frames: Frames, prompt: str | None) -> VideoScores:
        """Score one video, uint8 (F, H, W, 3), which has a prompt."""
        assert prompt is not None, "folders are opened with needs_prompt"
        token_ids = self.tokenizer(prompt, verbose=False).input_ids
        note = cut_off_note(prompt, token_ids, MAX_TOKENS, self.tokenizer.decode)
        reward = self.score_frames(frames, prompt).mean().item()
        return VideoScores({IMAGE_REWARD.name: reward}, (note,) if note else ())

    @torch.no_grad()
    def score_frames(self, frames: Frames, prompt: str) -> Tensor:
        """Score each frame for a prompt, of which the first 35 tokens count; result (F,)."""
        text = self.tokenizer(
            prompt,
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(self.device)
        scores = []
        for start in range(0, len(frames), self.batch_size):
            images = [Image.fromarray(frame) for frame in frames[start : start + self.batch_size]]
            pixels = torch.stack([self.preprocess(image) for image in images]).to(self.device)
            scores.append(self.network(pixels, text["input_ids"], text["attention_mask"]).cpu())
        return torch.cat(scores)


# Names in the published checkpoint -> names here, applied in this order.
RENAMES = (
    (r"^mlp\.layers\.", "head."),
    (r"^blip\.text_encoder\.", "text."),
    (r"^blip\.visual_encoder\.", "vision."),
    (r"^vision\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^vision\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^vision\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^vision\.norm\.", "vision.post_layernorm."),
    (r"^vision\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (r"^vision\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"^vision\.blocks\.(\d+)\.norm([12])\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"^vision\.blocks\.(\d+)\.mlp\.", r"vision.encoder.layers.\1.mlp."),
)
UNUSED = re.compile(r"^blip\.(vision_proj|text_proj)\.|\.position_ids$")


def rename_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a checkpoint's weights the names they have in `ImageRewardNetwork`."""
    weights = {}
    for published_name, weight in published.items():
        if UNUSED.search(published_name):
            continue
        name = published_name
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        weights[name] = weight
    return weights


def load_network(checkpoint: Path, size: NetworkSize = PUBLISHED_SIZE) -> ImageRewardNetwork:
    """Load a published checkpoint.

    Raises:
        UserError: It cannot be read, or lacks a weight, has one too many or one of another shape.
    """
    try:
        published = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{checkpoint} cannot be read as a checkpoint: is it whole?") from error
    if not isinstance(published, dict):
        raise UserError(f"{checkpoint} holds no weights by name: is it ImageReward.pt?")
    network = ImageRewardNetwork(size)
    try:
        wrong = network.load_state_dict(rename_weights(published), strict=False)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"{checkpoint} is of another network: {problem}") from error
    for problem, names in (("lacks", wrong.missing_keys), ("has unknown", wrong.unexpected_keys)):
        if names:
            raise UserError(
                f"{checkpoint} {problem} {len(names)} weights ({', '.join(names[:3])}, …): is it "
                "ImageReward-v1.0?"
            )
    return network
