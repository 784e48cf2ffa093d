"""Text encoders: prompts -> the states that a denoiser attends to.

A text encoder lives on the CPU, computes in fp32, and visits the device for its work.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.activations import ACT2CLS

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig, BaseFolder
from motionmatcher.devices import visiting
from motionmatcher.errors import UserError
from motionmatcher.prompts import cut_off_note


class ClipText:
    """CLIP's text side, as Stable Diffusion has it.

    Attributes:
        model_class: What its weights are loaded into.
        width_key: The key of its config that says how wide its states are.
        default_width: The width that a config without the key means.
    """

    model_class = CLIPTextModel
    width_key = "hidden_size"
    default_width = 512

    def __init__(
        self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, device: torch.device
    ) -> None:
        """Take an encoder and its tokenizer.

        Args:
            encoder: Token ids -> text states; on the CPU, in fp32.
            tokenizer: Prompt -> token ids.
            device: Where it computes.
        """
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.device = device

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check `text_encoder/config.json`; the defaults are transformers' own.

        Raises:
            UserError: Names the file and the key that no text encoder can be built with.
        """
        width = config.whole(cls.width_key, 1, MAX_CHANNELS, default=cls.default_width)
        heads = config.whole("num_attention_heads", 1, width, default=8)
        if width % heads:
            config.refuse("num_attention_heads", f"divide {cls.width_key} {width}")
        config.whole("intermediate_size", 1, MAX_CHANNELS, default=2048)
        config.whole("num_hidden_layers", 1, MAX_LAYERS, default=12)
        config.whole("vocab_size", 3, 10_000_000, default=49408)
        config.whole("max_position_embeddings", 3, MAX_CHANNELS, default=77)
        config.choice("hidden_act", ACT2CLS, default="quick_gelu")

    @staticmethod
    def check_tokenizer(base: BaseFolder, config: BaseConfig) -> None:
        """Check that the text encoder knows every token, by `tokenizer.json` or `vocab.json`.

        Args:
            base: The base's folder, which holds `tokenizer/`.
            config: The text encoder's.

        Raises:
            UserError: Names the file, and what is wrong with its tokens.
        """
        if base.has("tokenizer/tokenizer.json"):
            tokens = base.read("tokenizer/tokenizer.json")
            model = tokens.content.get("model")
            vocabulary = model.get("vocab") if isinstance(model, dict) else None
        else:
            base.require("tokenizer/merges.txt")
            tokens = base.read("tokenizer/vocab.json")
            vocabulary = tokens.content
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
        if not ids or not all(isinstance(token, int) for token in ids):
            raise UserError(
                f"{tokens.file} is damaged: it holds no vocabulary of texts and numbers."
            )
        known = config.content.get("vocab_size", 49408)
        if max(ids) >= known:
            raise UserError(
                f"{tokens.file}: its tokens go up to {max(ids)}, but the text encoder knows {known} "
                f"({config.file}, vocab_size): they are of different models."
            )

    @staticmethod
    def num_tokens(tokenizer: BaseConfig, config: Mapping[str, Any]) -> int:
        """Give the length of an encoded prompt: the text encoder's where the tokenizer has none.

        Tokenizers that were saved without one say nothing, or 1e30.

        Args:
            tokenizer: `tokenizer/tokenizer_config.json`.
            config: The text encoder's.

        Raises:
            UserError: The tokenizer's is no length.
        """
        longest: int = config.get("max_position_embeddings", 77)
        if tokenizer.content.get("model_max_length") is None:
            return longest
        return int(min(tokenizer.number("model_max_length", 3, 1e31), longest))

    @staticmethod
    def read_tokenizer(folder: Path, num_tokens: int) -> CLIPTokenizer:
        """Read the tokenizer of a folder, for prompts of so many tokens."""
        return CLIPTokenizer.from_pretrained(folder, model_max_length=num_tokens)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts; words beyond the tokenizer's length are cut off, see `cut_off_notes`.

        Returns:
            Text states (len(prompts), T, D), fp32, on the device.
        """
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with visiting(self.device, self.encoder):
            return self.encoder(tokens.input_ids.to(self.device))[0]

    def count_tokens(self, prompt: str) -> int:
        """Count how many of a prompt's states are its own: its words and special tokens, no padding."""
        tokens = self.tokenizer(
            prompt, max_length=self.tokenizer.model_max_length, truncation=True, verbose=False
        )
        return len(tokens.input_ids)

    def cut_off_notes(self, prompts: Iterable[str]) -> list[str]:
        """Say of each prompt that is too long for the text encoder what it does not read."""
        return [
            note
            for prompt in dict.fromkeys(prompts)
            if (
                note := cut_off_note(
                    prompt,
                    self.tokenizer(prompt, verbose=False).input_ids,
                    self.tokenizer.model_max_length,
                    self.tokenizer.decode,
                )
            )
        ]
