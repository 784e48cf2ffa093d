"""CLIP models, from open_clip or a transformers folder, and the scores computed with them."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from evaluation.clip_metrics import appearance_leakage, clip_text_score, frame_consistency
from evaluation.metrics import CLIP_T, FRAME_CONSISTENCY, LEAKAGE
from evaluation.scoring import Setting, VideoScores
from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.prompts import cut_off_note
from motionmatcher.tensor_files import require_named_tensors
from motionmatcher.transformers_bars import without_transformers_bars

# What reading weights raises for a file that holds none.
_NO_CHECKPOINT = (pickle.UnpicklingError, EOFError, SafetensorError)
# Weight files of open_clip that are no pickles.
_NOT_PICKLED = (".safetensors", ".npz", ".npy")


class ClipEncoder(Protocol):
    """A CLIP model."""

    name: str

    def encode_frames(self, frames: Frames) -> Tensor:
        """Embed frames, uint8 (F, H, W, 3), as (F, D)."""
        ...

    def encode_text(self, text: str) -> Tensor:
        """Embed a text as (D,); what exceeds the model's context is cut off."""
        ...

    def cut_off_note(self, text: str) -> str | None:
        """Say what `encode_text` cuts off; None when it is nothing."""
        ...


class ClipScorer:
    """CLIP-T, frame consistency and, given a reference clip, appearance leakage."""

    def __init__(self, encoder: ClipEncoder, reference: Frames | None = None) -> None:
        """Embed the reference clip, which is compared with every video.

        Args:
            encoder: The CLIP model.
            reference: uint8 (F, H, W, 3); None leaves the leakage out.
        """
        self.encoder = encoder
        self.reference = None if reference is None else encoder.encode_frames(reference)
        self.metrics = [CLIP_T, FRAME_CONSISTENCY] + ([] if reference is None else [LEAKAGE])
        self.settings: dict[str, Setting] = {"clip_model": encoder.name}

    def score(self, frames: Frames, prompt: str | None) -> VideoScores:
        """Score one video, uint8 (F, H, W, 3), which has a prompt."""
        assert prompt is not None, "folders are opened with needs_prompt"
        embeddings = self.encoder.encode_frames(frames)
        values = {
            CLIP_T.name: clip_text_score(embeddings, self.encoder.encode_text(prompt)),
            FRAME_CONSISTENCY.name: frame_consistency(embeddings),
        }
        if self.reference is not None:
            values[LEAKAGE.name] = appearance_leakage(embeddings, self.reference)
        note = self.encoder.cut_off_note(prompt)
        return VideoScores(values, (note,) if note else ())


class OpenClipEncoder:
    """A model of open_clip."""

    def __init__(self, architecture: str, weights: str, device: str, batch_size: int) -> None:
        """Load a model.

        Args:
            architecture: A name that `open_clip.list_models()` knows.
            weights: A weights file, or a pretrained tag of the architecture.
            device: Where to compute.
            batch_size: Frames encoded at a time.

        Raises:
            UserError: The weights cannot be had or are of another model.
        """
        import open_clip

        what = f"CLIP weights '{weights}' of {architecture} cannot be loaded"
        if Path(weights).is_file() and Path(weights).suffix not in _NOT_PICKLED:
            try:
                require_named_tensors(Path(weights), "state_dict")
            except UserError as error:
                raise UserError(f"{what}: the file is no checkpoint, or a damaged one.") from error
        try:
            self.model, _, self.preprocess = open_clip.create_model_and_transforms(
                architecture, pretrained=weights, device=device
            )
        except (OSError, RuntimeError, ValueError, *_NO_CHECKPOINT) as error:
            if isinstance(error, _NO_CHECKPOINT):  # torch's words advise to read it unsafely
                raise UserError(f"{what}: the file is no checkpoint, or a damaged one.") from error
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":.")
            if Path(weights).is_file():
                raise UserError(f"{what}: the file is of another model ({reason}).") from error
            raise UserError(
                f"{what} ({reason}): they need the network once, or a matching file given by --clip_ckpt."
            ) from error
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(architecture)
        self.device, self.batch_size = device, batch_size
        self.name = f"{architecture} ({Path(weights).name})"

    def encode_frames(self, frames: Frames) -> Tensor:
        """Embed frames, uint8 (F, H, W, 3), as (F, D)."""

        def encode(images: list[Image.Image]) -> Tensor:
            pixels = torch.stack([self.preprocess(image) for image in images])
            return self.model.encode_image(pixels.to(self.device))

        return _in_batches(frames, self.batch_size, encode)

    @torch.no_grad()
    def encode_text(self, text: str) -> Tensor:
        """Embed a text as (D,); what exceeds the model's context is cut off."""
        return self.model.encode_text(self.tokenizer([text]).to(self.device))[0].float().cpu()

    def cut_off_note(self, text: str) -> str | None:
        """Say what `encode_text` cuts off; None when it is nothing."""
        whole: Any = getattr(self.tokenizer, "tokenizer", None)  # of transformers, in some models
        if whole is not None:
            token_ids = whole(text, verbose=False).input_ids
            return cut_off_note(text, token_ids, self.tokenizer.context_length, whole.decode)
        ends = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        token_ids = [ends[0], *self.tokenizer.encode(text), ends[1]]
        return cut_off_note(text, token_ids, self.tokenizer.context_length, self.tokenizer.decode)


class TransformersClipEncoder:
    """A CLIP model in a folder of the transformers library."""

    def __init__(self, folder: Path, device: str, batch_size: int) -> None:
        """Load a model, its tokenizer and its image processor.

        Args:
            folder: Holds `config.json`, weights, tokenizer and `preprocessor_config.json`.
            device: Where to compute.
            batch_size: Frames encoded at a time.

        Raises:
            UserError: A part is missing or cannot be loaded.
        """
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        try:
            with without_transformers_bars():
                model = CLIPModel.from_pretrained(folder, local_files_only=True)
            self.model = model.to(device).eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, *_NO_CHECKPOINT) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{folder} is not a whole CLIP folder of transformers: {reason}"
            ) from error
        self.max_tokens: int = self.model.config.text_config.max_position_embeddings
        self.device, self.batch_size = device, batch_size
        self.name = folder.name

    def encode_frames(self, frames: Frames) -> Tensor:
        """Embed frames, uint8 (F, H, W, 3), as (F, D)."""

        def encode(images: list[Image.Image]) -> Tensor:
            pixels = self.processor(images, return_tensors="pt")["pixel_values"].to(self.device)
            return self.model.get_image_features(pixel_values=pixels).pooler_output

        return _in_batches(frames, self.batch_size, encode)

    @torch.no_grad()
    def encode_text(self, text: str) -> Tensor:
        """Embed a text as (D,); what exceeds the model's context is cut off."""
        tokens = self.tokenizer(
            text,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        output = self.model.get_text_features(
            input_ids=tokens["input_ids"].to(self.device),
            attention_mask=tokens["attention_mask"].to(self.device),
        )
        return output.pooler_output[0].float().cpu()

    def cut_off_note(self, text: str) -> str | None:
        """Say what `encode_text` cuts off; None when it is nothing."""
        token_ids = self.tokenizer(text, verbose=False).input_ids
        return cut_off_note(text, token_ids, self.max_tokens, self.tokenizer.decode)


def check_clip_choice(model: str, weights: str) -> None:
    """Refuse a model that cannot exist, before anything heavy loads.

    Args:
        model: An open_clip architecture or a folder of transformers.
        weights: A file or a pretrained tag; not looked at for a folder.

    Raises:
        UserError: Names what is wrong.
    """
    if (Path(model) / "config.json").is_file():
        return
    import open_clip

    architectures = open_clip.list_models()
    if model not in architectures:
        raise UserError(
            f"--clip_model {model} is neither an open_clip architecture nor a folder with a CLIP "
            f"model of transformers.{did_you_mean(model, architectures)}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not Path(weights).is_file() and weights not in tags:
        raise UserError(
            f"--clip_ckpt {weights} is neither a file nor a tag of {model} "
            f"({', '.join(tags) or 'which has none'})."
        )


def load_clip(model: str, weights: str, device: str, batch_size: int) -> ClipEncoder:
    """Load a CLIP model; the arguments are those of `check_clip_choice` and of the encoders."""
    check_clip_choice(model, weights)
    if Path(model).is_dir():
        return TransformersClipEncoder(Path(model), device, batch_size)
    return OpenClipEncoder(model, weights, device, batch_size)


@torch.no_grad()
def _in_batches(
    frames: Frames, batch_size: int, encode: Callable[[list[Image.Image]], Tensor]
) -> Tensor:
    images = [Image.fromarray(frame) for frame in frames]
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    return torch.cat([encode(batch).float().cpu() for batch in batches])  # (F, D)
