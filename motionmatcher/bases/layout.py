"""What a base model's folder holds, known from its config files alone, before weights are read."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionmatcher.bases.config_checks import (
    check_parts_match,
    check_scheduler,
    check_text_encoder,
    check_unet,
    check_vae,
    check_vocabulary,
    num_tokens,
)
from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.bases.weights import check_weight_files, choose_weight_files
from motionmatcher.errors import UserError
from motionmatcher.file_hashes import file_hash
from motionmatcher.paths import find_path, require_folder

ZEROSCOPE_ID = "cerspense/zeroscope_v2_576w"

_CONFIGS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
}
_WEIGHT_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_TRANSFORMERS_STEMS = ("model", "pytorch_model")
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt")
_WEIGHED = ("unet", "vae", "text_encoder")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAMPLED_BYTES = 1 << 20


@dataclass(frozen=True)
class BaseLayout:
    """A base model's folder and configs.

    Attributes:
        name: Path or hub id as the user gave it.
        folder: The folder in diffusers' layout.
        unet_config: `unet/config.json`.
        vae_config: `vae/config.json`.
        scheduler_config: `scheduler/scheduler_config.json`.
        num_tokens: Length of an encoded prompt.
    """

    name: str
    folder: Path
    unet_config: dict[str, Any]
    vae_config: dict[str, Any]
    scheduler_config: dict[str, Any]
    num_tokens: int

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent, in each direction."""
        return 2 ** (len(self.vae_config["block_out_channels"]) - 1)

    def latent_size(self, width: int, height: int) -> tuple[int, int]:
        """Height and width of the latents of frames of a size in pixels.

        Raises:
            UserError: The size is not a multiple of the VAE's scale factor.
        """
        scale = self.vae_scale_factor
        for name, pixels in (("width", width), ("height", height)):
            if pixels % scale:
                raise UserError(
                    f"{name} {pixels} must be a multiple of {scale} pixels for this base model: "
                    f"use {max(round(pixels / scale), 1) * scale}."
                )
        return height // scale, width // scale

    def weight_files(self, part: str) -> list[Path]:
        """List the weight files of a part; empty when they are missing."""
        stems = [_WEIGHT_STEMS[part]] if part in _WEIGHT_STEMS else _TRANSFORMERS_STEMS
        files = sorted((self.folder / part).glob("*"))
        return [
            file
            for file in files
            if file.suffix in (".safetensors", ".bin")
            and file.name.split(".")[0].split("-")[0] in stems
        ]

    def read_files(self, part: str) -> list[Path]:
        """List those of a part's weight files that are read: one form of all there are."""
        return choose_weight_files(self.weight_files(part))

    def weight_variant(self, part: str) -> str | None:
        """The variant to load: "fp16" when a part's only weights are named so."""
        names = [file.name for file in self.weight_files(part)]
        return "fp16" if names and all(".fp16" in name for name in names) else None

    def missing_weights(self) -> list[str]:
        """List the parts that have no weight files."""
        return [part for part in _WEIGHED if not self.weight_files(part)]

    def require_weights(self) -> None:
        """Refuse a folder without all of its weights.

        Raises:
            UserError: Names the missing parts and how to get them.
        """
        missing = self.missing_weights()
        if missing:
            raise UserError(
                f"{self.folder} has no weights for {', '.join(missing)}. {_remedy(self.name)}"
            )
        self.check_weights()

    def check_weights(self) -> None:
        """Refuse weights of which only a part is there, without reading them.

        Raises:
            UserError: Names the file that is missing, empty, or a pointer to the real one.
        """
        for part in _WEIGHED:
            check_weight_files(self.folder / part, self.read_files(part), _remedy(self.name))

    def uses_safetensors(self, part: str) -> bool:
        """Tell whether a part's weights are read from safetensors; else they are pickles."""
        return any(file.suffix == ".safetensors" for file in self.read_files(part))

    def fingerprint(self) -> str:
        """Identify configs, vocabulary and weights by a hash of all their bytes, wherever they lie."""
        files = [self.folder / part / name for part, name in _CONFIGS.items()]
        vocabulary = (self.folder / "tokenizer" / name for name in _VOCABULARY)
        files += [file for file in vocabulary if file.is_file()]
        files += [file for part in _WEIGHED for file in self.weight_files(part)]
        lines = [f"{file.relative_to(self.folder).as_posix()}:{file_hash(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def sampled_fingerprint(self) -> str:
        """Identify the base as checkpoints did before all of its bytes counted.

        Weight files count by name, size and one MiB from their middle. For comparing only.
        """
        digest = hashlib.sha256()
        for part, name in _CONFIGS.items():
            digest.update((self.folder / part / name).read_bytes())
        for part in _WEIGHED:
            for file in self.weight_files(part):
                size = file.stat().st_size
                digest.update(f"{part}/{file.name}:{size}".encode())
                with file.open("rb") as content:
                    content.seek(max(size // 2 - _SAMPLED_BYTES // 2, 0))
                    digest.update(content.read(_SAMPLED_BYTES))
        return digest.hexdigest()[:16]


def find_base(name: str, configs_only: bool = False) -> BaseLayout:
    """Find a base model and check its configs.

    Args:
        name: A folder in diffusers' layout, or a hub id, which is downloaded.
        configs_only: Download no weights.

    Raises:
        UserError: It is not there, incomplete, or no text-to-video model can be built of its configs;
            says how to get it.
    """
    folder = Path(find_path(name))
    if not folder.is_dir():
        if folder.is_symlink():  # to nothing, or in a loop
            require_folder(folder, "base model folder")
        folder = _download(name, configs_only)
    configs = {part: _read_config(name, folder / part / file) for part, file in _CONFIGS.items()}
    unet, vae, text_encoder = configs["unet"], configs["vae"], configs["text_encoder"]
    found_class = unet.content.get("_class_name")
    if found_class != "UNet3DConditionModel":
        raise UserError(
            f"{folder / 'unet'}: the UNet is a {found_class}; expected a UNet3DConditionModel, "
            f"as in {ZEROSCOPE_ID}."
        )
    check_unet(unet)
    check_vae(vae)
    check_text_encoder(text_encoder)
    check_scheduler(configs["scheduler"])
    check_parts_match(unet, vae, text_encoder)
    check_vocabulary(_read_vocabulary(name, folder / "tokenizer"), text_encoder)
    return BaseLayout(
        name,
        folder,
        unet.content,
        vae.content,
        configs["scheduler"].content,
        num_tokens(configs["tokenizer"], text_encoder),
    )


def _read_config(name: str, file: Path) -> BaseConfig:
    if not file.is_file():
        raise UserError(f"{file} is missing: {name} is not complete. {_remedy(name)}")
    return BaseConfig(file, _remedy(name))


def _read_vocabulary(name: str, folder: Path) -> BaseConfig:
    if (folder / "tokenizer.json").is_file():
        return BaseConfig(folder / "tokenizer.json", _remedy(name))
    if not (folder / "merges.txt").is_file():
        raise UserError(
            f"{folder / 'merges.txt'} is missing: {name} is not complete. {_remedy(name)}"
        )
    return _read_config(name, folder / "vocab.json")


def _download(name: str, configs_only: bool) -> Path:
    if not _is_hub_id(name):
        raise UserError(f"{name}: there is no such base model folder. {_remedy(name)}")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        files = HfApi().list_repo_files(name)
    except (HfHubHTTPError, HFValidationError, OSError):
        files = None  # without a network, an earlier download does
    try:
        if files is None:
            return Path(snapshot_download(name, local_files_only=True))
        wanted = [file for file in files if _is_text_of_a_part(file)]
        if not configs_only:
            wanted += [file for part in _WEIGHED for file in choose_weights(files, part)]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{name} is no folder here and could not be downloaded ({reason}). {_remedy(name)}"
        ) from error


def choose_weights(files: Iterable[str], part: str) -> list[str]:
    """Choose one form of a part's weights out of all that a repository offers.

    Args:
        files: Paths in the repository.
        part: "unet", "vae" or "text_encoder".

    Returns:
        The files in full precision, or those of the variant fp16 when there are no others;
        safetensors before older forms.
    """
    weights = choose_weight_files([Path(file) for file in files if file.startswith(f"{part}/")])
    return [file.as_posix() for file in weights]


def _is_text_of_a_part(file: str) -> bool:
    part, _, name = file.partition("/")
    return part in _CONFIGS and name.endswith((".json", ".txt"))


def _remedy(name: str) -> str:
    """Say how to get a base model whole, as far as its name tells which one it is."""
    folder = Path(name)
    if folder.name == ZEROSCOPE_ID.split("/")[1] and not _is_hub_id(name):
        return f"Download it with: hf download {ZEROSCOPE_ID} --local-dir {name}"
    if _is_hub_id(name) and not folder.is_dir():
        return f"Download it with: hf download {name} --local-dir models/{folder.name}"
    if folder.is_dir():
        return "Copy it anew from where it comes from."
    return (
        f"Give a folder in diffusers' layout, or the id of one on the Hub, such as {ZEROSCOPE_ID}."
    )


def _is_hub_id(name: str) -> bool:
    return _HUB_ID.fullmatch(name) is not None and not name.startswith(("models/", "./", "../"))
