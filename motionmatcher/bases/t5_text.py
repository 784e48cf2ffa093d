"""T5's encoders as text parts: too large to stay, so one is there only while it encodes."""

import html
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import ftfy
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import T5Tokenizer, UMT5EncoderModel
from transformers.activations import ACT2CLS

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig, BaseFolder
from motionmatcher.bases.text_states import read_text_states, write_text_states
from motionmatcher.bases.texts import TextEncoder, require_known_tokens
from motionmatcher.devices import available_bytes, free_unused, show_gib
from motionmatcher.errors import UserError, WriteError
from motionmatcher.reporting import note

# The most tokens of a prompt that Wan was trained with; the encoder itself would take any number.
MAX_TOKENS = 512
_VOCABULARY_SIZE = 250_112  # of a config that does not say


class T5Text(TextEncoder):
    """UMT5's encoder, as Wan has it.

    States of padding are zero, and only those of a prompt's own tokens are held, in bf16. The encoder is
    read when a prompt has none yet, and freed as soon as all that were asked for together do.
    """

    model_class = UMT5EncoderModel
    dtype = torch.bfloat16
    width_key = "d_model"
    default_width = 512

    @cached_property
    def _states(self) -> dict[str, Tensor]:
        """Cleaned prompt -> states of its own tokens (t, D), on the CPU."""
        return {}

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check `text_encoder/config.json`, see `TextEncoder`."""
        config.whole(cls.width_key, 1, MAX_CHANNELS, default=cls.default_width)
        config.whole("d_kv", 1, MAX_CHANNELS, default=64)
        config.whole("d_ff", 1, MAX_CHANNELS, default=1024)
        config.whole("num_heads", 1, MAX_CHANNELS, default=6)
        config.whole("num_layers", 1, MAX_LAYERS, default=8)
        config.whole("vocab_size", 3, 10_000_000, default=_VOCABULARY_SIZE)
        # Near tokens have a bucket each, a quarter of all in each direction; far ones share the rest.
        buckets = config.whole("relative_attention_num_buckets", 4, MAX_CHANNELS, default=32)
        config.whole("relative_attention_max_distance", buckets // 4 + 1, MAX_CHANNELS, default=128)
        config.number("dropout_rate", 0, 0.99, default=0.1)
        config.number("layer_norm_epsilon", 0, 1, default=1e-6)
        activations = [*ACT2CLS, *(f"gated-{name}" for name in ACT2CLS)]
        config.choice("feed_forward_proj", activations, default="gated-gelu")
        if "dense_act_fn" in config.content:
            config.choice("dense_act_fn", ACT2CLS)
        cls.check_types(config)

    @staticmethod
    def check_tokenizer(base: BaseFolder, config: BaseConfig) -> None:
        """Check `tokenizer.json`, see `TextEncoder`."""
        tokens = base.read("tokenizer/tokenizer.json")
        model = tokens.content.get("model")
        pieces = model.get("vocab") if isinstance(model, dict) else None
        if not isinstance(pieces, list) or not pieces or not all(map(_is_piece, pieces)):
            raise UserError(f"{tokens.file} is damaged: it holds no list of pieces and scores.")
        require_known_tokens(tokens, len(pieces) - 1, config, _VOCABULARY_SIZE)

    @staticmethod
    def num_tokens(tokenizer: BaseConfig, config: Mapping[str, Any]) -> int:
        """Give the length of an encoded prompt, see `TextEncoder`: 512 or the tokenizer's, if less."""
        if tokenizer.content.get("model_max_length") is None:
            return MAX_TOKENS
        return int(min(tokenizer.number("model_max_length", 2, 1e31), MAX_TOKENS))

    @staticmethod
    def read_tokenizer(folder: Path, num_tokens: int) -> T5Tokenizer:
        """Read the tokenizer of a folder, see `TextEncoder`."""
        return T5Tokenizer.from_pretrained(folder, model_max_length=num_tokens)

    @staticmethod
    def clean(prompt: str) -> str:
        """Mend a prompt's text, see `TextEncoder`."""
        return clean_prompt(prompt)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts, or look up what they were encoded to; see `TextEncoder`."""
        self.prepare(prompts)
        length = self.tokenizer.model_max_length
        own = [self._states[clean_prompt(prompt)] for prompt in prompts]
        states = torch.stack([pad(states, (0, 0, 0, length - len(states))) for states in own])
        return states.to(self.device, torch.float32)

    @torch.no_grad()
    def prepare(self, prompts: Iterable[str]) -> None:
        """Encode prompts that are not known yet, with an encoder that is read and freed for it."""
        cleaned = dict.fromkeys(clean_prompt(prompt) for prompt in prompts)
        unknown = [prompt for prompt in cleaned if prompt not in self._states]
        if not unknown:
            return
        encoder = self.read_encoder()
        place = self._place(encoder)
        encoder.to(place)
        for prompt in unknown:  # one by one: states must not depend on what else is asked for
            tokens = self.tokenizer(
                prompt,
                padding="max_length",
                max_length=self.tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).to(place)
            states = encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state[0]
            self._states[prompt] = states[: tokens.attention_mask.sum()].to("cpu", copy=True)
        del encoder
        free_unused(place)

    def read_states(self, file: Path) -> None:
        """Take the states of a file of `write_states`, see `TextEncoder`."""
        self._states |= read_text_states(file, self.fingerprint(), self.width)

    def write_states(self, file: Path) -> None:
        """Add all states to a file, see `TextEncoder`."""
        try:
            write_text_states(file, self.fingerprint(), self._states, self.width)
        except WriteError as error:
            note(f"the prompts will have to be encoded again: {error}")

    def _place(self, encoder: UMT5EncoderModel) -> torch.device:
        """Choose where to encode: on the CPU when the device has no room for the encoder."""
        if self.device.type == "cpu":
            return self.device
        size = sum(weight.nbytes for weight in encoder.parameters())
        free = available_bytes(self.device)
        if size * 1.1 < free:  # activations are small beside it
            return self.device
        note(
            f"the text encoder takes {show_gib(size)} and {show_gib(free)} are free on {self.device}: "
            "it computes on the CPU, which takes longer."
        )
        return torch.device("cpu")


def _is_piece(piece: Any) -> bool:
    """Tell whether it is a text with its score."""
    return isinstance(piece, list) and list(map(type, piece)) in ([str, float], [str, int])


def clean_prompt(prompt: str) -> str:
    """Mend a prompt's encoding, quotes, HTML entities and white space, as Wan's own programs do."""
    mended = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return " ".join(mended.split())
