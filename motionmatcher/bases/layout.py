"""What a base model's folder holds, known from its config files alone, before weights are read."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from motionmatcher.bases.config_file import BaseFolder
from motionmatcher.bases.parts import CODEC, DENOISER, KINDS, TEXT, PartKind
from motionmatcher.bases.weights import check_weight_files, choose_weight_files
from motionmatcher.errors import UserError
from motionmatcher.file_hashes import file_hash
from motionmatcher.paths import find_path, require_folder

if TYPE_CHECKING:
    from motionmatcher.bases.codecs import Codec
    from motionmatcher.bases.denoiser import Denoiser
    from motionmatcher.bases.texts import TextEncoder
    from motionmatcher.diffusion.schedules import Schedule

ZEROSCOPE_ID = "cerspense/zeroscope_v2_576w"

_TOKENIZER_CONFIG = "tokenizer/tokenizer_config.json"
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAMPLED_BYTES = 1 << 20

PartClass = TypeVar("PartClass")


@dataclass(frozen=True)
class Part(Generic[PartClass]):
    """One part of a base model.

    Attributes:
        kind: What it is.
        folder: The name of its folder within the base's.
        config: What its config file says.
        part_class: The class of ours that it is for.
    """

    kind: PartKind
    folder: str
    config: dict[str, Any]
    part_class: type[PartClass]


@dataclass(frozen=True)
class BaseLayout:
    """A base model's folder and configs.

    Attributes:
        name: Path or hub id as the user gave it.
        folder: The folder in diffusers' layout.
        denoiser: Predicts noise or velocity; in `unet/` or `transformer/`.
        codec: Frames <-> latents; in `vae/`.
        text: Prompts -> text states; in `text_encoder/`, with `tokenizer/`.
        schedule: The noise or flow schedule it was trained with; in `scheduler/`.
        num_tokens: Length of an encoded prompt.
    """

    name: str
    folder: Path
    denoiser: Part["Denoiser"]
    codec: Part["Codec"]
    text: Part["TextEncoder"]
    schedule: Part["Schedule"]
    num_tokens: int

    @property
    def weighed(self) -> tuple[Part[Any], ...]:
        """The parts that have weights."""
        return self.denoiser, self.codec, self.text

    @property
    def config_files(self) -> list[str]:
        """The config files that make it what it is, by their path in the folder."""
        parts = (self.denoiser, self.codec, self.text, self.schedule)
        return [*(f"{part.folder}/{part.kind.config_name}" for part in parts), _TOKENIZER_CONFIG]

    def latent_shape(self, num_frames: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Shape of a video's latents, (C, F, h, w).

        Raises:
            UserError: The codec or the denoiser does not take this size or number of frames.
        """
        network, config = self.denoiser.part_class, self.denoiser.config
        shape = self.codec.part_class.shape_by_config(
            self.codec.config, num_frames, width, height, network.patch_size(config)
        )
        longest = network.max_frames(config)
        if longest is not None and shape[1] > longest:
            raise UserError(
                f"{num_frames} frames: this base model's denoiser takes at most {longest}, and they are "
                f"{shape[1]} in its latents: use fewer."
            )
        return shape

    def read_schedule(self, rescale: bool = False, flow_shift: float | None = None) -> "Schedule":
        """Build the schedule.

        Args:
            rescale: As of `NoiseSchedule.from_config`.
            flow_shift: The shift of `FlowSchedule.from_config`.

        Raises:
            UserError: One of them is of the other kind of schedule.
        """
        schedule_class = self.schedule.part_class
        return schedule_class.from_config(self.schedule.config, rescale=rescale, shift=flow_shift)

    def weight_files(self, part: Part[Any]) -> list[Path]:
        """List the weight files of a part; empty when they are missing."""
        stems = part.kind.weight_stems
        files = sorted((self.folder / part.folder).glob("*"))
        return [
            file
            for file in files
            if file.suffix in (".safetensors", ".bin")
            and file.name.split(".")[0].split("-")[0] in stems
        ]

    def read_files(self, part: Part[Any]) -> list[Path]:
        """List those of a part's weight files that are read: one form of all there are."""
        return choose_weight_files(self.weight_files(part))

    def weight_variant(self, part: Part[Any]) -> str | None:
        """The variant to load: "fp16" when a part's only weights are named so."""
        names = [file.name for file in self.weight_files(part)]
        return "fp16" if names and all(".fp16" in name for name in names) else None

    def missing_weights(self) -> list[str]:
        """List the parts that have no weight files."""
        return [part.folder for part in self.weighed if not self.weight_files(part)]

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
        for part in self.weighed:
            check_weight_files(self.folder / part.folder, self.read_files(part), _remedy(self.name))

    def uses_safetensors(self, part: Part[Any]) -> bool:
        """Tell whether a part's weights are read from safetensors; else they are pickles."""
        return any(file.suffix == ".safetensors" for file in self.read_files(part))

    def fingerprint(self) -> str:
        """Identify configs, vocabulary and weights by a hash of all their bytes, wherever they lie."""
        files = [self.folder / name for name in self.config_files]
        files += self._vocabulary()
        files += [file for part in self.weighed for file in self.weight_files(part)]
        return self._hash(files)

    def text_fingerprint(self) -> str:
        """Identify text encoder and tokenizer alone, as `fingerprint` does all parts."""
        config = self.folder / self.text.folder / self.text.kind.config_name
        files = [config, self.folder / _TOKENIZER_CONFIG, *self._vocabulary()]
        return self._hash([*files, *self.weight_files(self.text)])

    def _vocabulary(self) -> list[Path]:
        files = (self.folder / "tokenizer" / name for name in _VOCABULARY)
        return [file for file in files if file.is_file()]

    def _hash(self, files: Iterable[Path]) -> str:
        lines = [f"{file.relative_to(self.folder).as_posix()}:{file_hash(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def sampled_fingerprint(self) -> str:
        """Identify the base as checkpoints did before all of its bytes counted.

        Weight files count by name, size and one MiB from their middle. For comparing only.
        """
        digest = hashlib.sha256()
        for name in self.config_files:
            digest.update((self.folder / name).read_bytes())
        for part in self.weighed:
            for file in self.weight_files(part):
                size = file.stat().st_size
                digest.update(f"{part.folder}/{file.name}:{size}".encode())
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
    base = BaseFolder(name, folder, _remedy(name))
    folders = {kind: _find_folder(base, kind) for kind in KINDS}
    configs = {kind: base.read(f"{folders[kind]}/{kind.config_name}") for kind in KINDS}
    tokenizer = base.read(_TOKENIZER_CONFIG)

    def part(kind: PartKind) -> Part[Any]:
        config = configs[kind]
        part_class = kind.find_class(
            config.choice(kind.key, kind.classes, kind.default), config.content
        )
        part_class.check_config(config)
        return Part(kind, folders[kind], config.content, part_class)

    denoiser, codec, text, schedule = (part(kind) for kind in KINDS)
    network = denoiser.part_class
    configs[DENOISER].match(
        network.text_width_key,
        configs[TEXT],
        text.part_class.width_key,
        "the text encoder's",
        text.part_class.default_width,
    )
    configs[DENOISER].match(
        network.channels_key, configs[CODEC], codec.part_class.channels_key, "the VAE's"
    )
    text.part_class.check_tokenizer(base, configs[TEXT])
    num_tokens = text.part_class.num_tokens(tokenizer, text.config)
    return BaseLayout(name, folder, denoiser, codec, text, schedule, num_tokens)


def _find_folder(base: BaseFolder, kind: PartKind) -> str:
    """Find out in which of its folders a part lies; the first one when it is missing."""
    found = [folder for folder in kind.folders if base.has(f"{folder}/{kind.config_name}")]
    if len(found) > 1:
        raise UserError(
            f"{base.path} has both {found[0]} and {found[1]}: it is mixed of two models. {base.remedy}"
        )
    return found[0] if found else kind.folders[0]


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
            folders = [folder for kind in KINDS if kind.weight_stems for folder in kind.folders]
            wanted += [file for folder in folders for file in choose_weights(files, folder)]
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
        part: A part's folder, such as "unet".

    Returns:
        The files in full precision, or those of the variant fp16 when there are no others;
        safetensors before older forms.
    """
    weights = choose_weight_files([Path(file) for file in files if file.startswith(f"{part}/")])
    return [file.as_posix() for file in weights]


def _is_text_of_a_part(file: str) -> bool:
    part, _, name = file.partition("/")
    folders = {folder for kind in KINDS for folder in kind.folders} | {"tokenizer"}
    return part in folders and name.endswith((".json", ".txt"))


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
