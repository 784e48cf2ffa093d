"""Text encoders: prompts -> the states that a denoiser attends to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.activations import ACT2CLS

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig, BaseFolder
from motionmatcher.devices import visiting
from motionmatcher.errors import UserError
from motionmatcher.prompts import cut_off_note
from motionmatcher.text_files import shorten

# What a text encoder's config may say that its weights are saved as.
_DTYPES = ("float64", "float32", "float16", "bfloat16")


class TextEncoder:
    """What every text encoder is.

    Attributes:
        model_class: What its weights are loaded into.
        dtype: What its weights are loaded as.
        width_key: The key of its config that says how wide its states are.
        default_width: The width that a config without the key means.
    """

    model_class: ClassVar[type[Any]]
    dtype: ClassVar[torch.dtype] = torch.float32
    width_key: ClassVar[str]
    default_width: ClassVar[int]

    def __init__(
        self,
        config: Mapping[str, Any],
        tokenizer: Any,
        read_encoder: Callable[[], Any],
        device: torch.device,
        fingerprint: Callable[[], str],
    ) -> None:
        """Take what encoding needs; no weights are read yet.

        Args:
            config: `text_encoder/config.json`.
            tokenizer: Prompt -> token ids, of `read_tokenizer`.
            read_encoder: Reads the weights into a `model_class` of `dtype`, on the CPU.
            device: Where it shall compute.
            fingerprint: Identifies encoder and tokenizer; takes time.
        """
        self.width: int = config.get(self.width_key, self.default_width)
        self.tokenizer = tokenizer
        self.device = device
        self.read_encoder = read_encoder
        self.fingerprint = fingerprint

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check `text_encoder/config.json`; the defaults are transformers' own.

        Raises:
            UserError: Names the file and the key that no text encoder can be built with.
        """
        raise NotImplementedError

    @classmethod
    def check_types(cls, config: BaseConfig) -> None:
        """Check the keys that only transformers looks at, by its own rules.

        Raises:
            UserError: Names the file and the key whose value is of a wrong type.
        """
        for key in ("dtype", "torch_dtype"):
            if config.content.get(key) is not None:
                config.choice(key, _DTYPES)
        try:
            cls.model_class.config_class(**config.content)
        except StrictDataclassError as error:
            reason = shorten(" ".join(str(error).split()))
            raise UserError(f"{config.file}: transformers refuses it: {reason}") from error

    @staticmethod
    def check_tokenizer(base: BaseFolder, config: BaseConfig) -> None:
        """Check that the text encoder knows every token of the tokenizer's files.

        Args:
            base: The base's folder, which holds `tokenizer/`.
            config: The text encoder's.

        Raises:
            UserError: Names the file, and what is wrong with its tokens.
        """
        raise NotImplementedError

    @staticmethod
    def num_tokens(tokenizer: BaseConfig, config: Mapping[str, Any]) -> int:
        """Give the length of an encoded prompt, padding included.

        Args:
            tokenizer: `tokenizer/tokenizer_config.json`.
            config: The text encoder's.

        Raises:
            UserError: The tokenizer's is no length.
        """
        raise NotImplementedError

    @staticmethod
    def read_tokenizer(folder: Path, num_tokens: int) -> Any:
        """Read the tokenizer of a folder, for prompts of so many tokens."""
        raise NotImplementedError

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts; words beyond the tokenizer's length are cut off, see `cut_off_notes`.

        Returns:
            Text states (len(prompts), T, D), fp32, on the device.
        """
        raise NotImplementedError

    def prepare(self, prompts: Iterable[str]) -> None:
        """Read the encoder; one that does not stay encodes the prompts ahead of their use."""
        raise NotImplementedError

    def read_states(self, file: Path) -> None:
        """Take what an encoder that does not stay made of prompts before; the file may be missing.

        Raises:
            UserError: The file is damaged.
        """

    def write_states(self, file: Path) -> None:
        """Keep what an encoder that does not stay made of prompts; notes that it cannot be kept."""

    @staticmethod
    def clean(prompt: str) -> str:
        """Give a prompt as the tokenizer gets it."""
        return prompt

    def token_ids(self, prompt: str) -> list[int]:
        """List all tokens of a prompt, from the first special one to the last, none cut off."""
        ids: list[int] = self.tokenizer(self.clean(prompt), verbose=False).input_ids
        return ids

    def count_tokens(self, prompt: str) -> int:
        """How many of a prompt's states, from the first on, are its own and not padding's."""
        return min(len(self.token_ids(prompt)), self.tokenizer.model_max_length)

    def cut_off_notes(self, prompts: Iterable[str]) -> list[str]:
        """Say of each prompt that is too long for the text encoder what it does not read."""
        return [
            note
            for prompt in dict.fromkeys(prompts)
            if (
                note := cut_off_note(
                    prompt,
                    self.token_ids(prompt),
                    self.tokenizer.model_max_length,
                    self.tokenizer.decode,
                )
            )
        ]


class ClipText(TextEncoder):
    """CLIP's text side, as Stable Diffusion has it; it lives on the CPU and visits the device."""

    model_class = CLIPTextModel
    width_key = "hidden_size"
    default_width = 512

    @cached_property
    def encoder(self) -> CLIPTextModel:
        """Token ids -> text states; on the CPU, in fp32."""
        return self.read_encoder()

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check `text_encoder/config.json`, see `TextEncoder`."""
        width = config.whole(cls.width_key, 1, MAX_CHANNELS, default=cls.default_width)
        heads = config.whole("num_attention_heads", 1, width, default=8)
        if width % heads:
            config.refuse("num_attention_heads", f"divide {cls.width_key} {width}")
        config.whole("intermediate_size", 1, MAX_CHANNELS, default=2048)
        config.whole("num_hidden_layers", 1, MAX_LAYERS, default=12)
        config.whole("vocab_size", 3, 10_000_000, default=49408)
        config.whole("max_position_embeddings", 3, MAX_CHANNELS, default=77)
        config.choice("hidden_act", ACT2CLS, default="quick_gelu")
        cls.check_types(config)

    @staticmethod
    def check_tokenizer(base: BaseFolder, config: BaseConfig) -> None:
        """Check `tokenizer.json`, or `vocab.json` and `merges.txt`; see `TextEncoder`."""
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
        require_known_tokens(tokens, max(ids), config, 49408)

    @staticmethod
    def num_tokens(tokenizer: BaseConfig, config: Mapping[str, Any]) -> int:
        """Give the length of an encoded prompt: the text encoder's where the tokenizer has none.

        Tokenizers that were saved without one say nothing, or 1e30. See `TextEncoder`.
        """
        longest: int = config.get("max_position_embeddings", 77)
        if tokenizer.content.get("model_max_length") is None:
            return longest
        return int(min(tokenizer.number("model_max_length", 3, 1e31), longest))

    @staticmethod
    def read_tokenizer(folder: Path, num_tokens: int) -> CLIPTokenizer:
        """Read the tokenizer of a folder, see `TextEncoder`."""
        return CLIPTokenizer.from_pretrained(folder, model_max_length=num_tokens)

    def prepare(self, prompts: Iterable[str]) -> None:
        """Read the encoder, which stays."""
        _ = self.encoder

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts, see `TextEncoder`."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with visiting(self.device, self.encoder):
            return self.encoder(tokens.input_ids.to(self.device))[0]


def require_known_tokens(
    tokens: BaseConfig, last: int, config: BaseConfig, default_size: int
) -> None:
    """Refuse a tokenizer that has more tokens than the text encoder.

    Args:
        tokens: The file of its vocabulary.
        last: The largest of its token ids.
        config: The text encoder's.
        default_size: Size of the vocabulary of a config without the key.

    Raises:
        UserError: Names both files.
    """
    known = config.content.get("vocab_size", default_size)
    if last >= known:
        raise UserError(
            f"{tokens.file}: its tokens go up to {last}, but the text encoder knows {known} "
            f"({config.file}, vocab_size): they are of different models."
        )
