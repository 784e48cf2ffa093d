"""What a base model's folder holds, known from its config files alone, before weights are read."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionmatcher.bases.adapter_folder import find_motion_adapter
from motionmatcher.bases.config_file import BaseFolder
from motionmatcher.bases.hub import ZEROSCOPE_ID, choose_weights, find_folder, remedy
from motionmatcher.bases.parts import CODEC, DENOISER, KINDS, TEXT, Part, PartKind
from motionmatcher.bases.weights import check_weight_files, choose_weight_files
from motionmatcher.errors import UserError
from motionmatcher.file_hashes import file_hash

if TYPE_CHECKING:
    from motionmatcher.bases.codecs import Codec
    from motionmatcher.bases.denoiser import Denoiser
    from motionmatcher.bases.motion_adapter import MotionLayers
    from motionmatcher.bases.texts import TextEncoder
    from motionmatcher.diffusion.schedules import Schedule

_INDEX = "model_index.json"
_TOKENIZER_CONFIG = "tokenizer/tokenizer_config.json"
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt")
_SAMPLED_BYTES = 1 << 20


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
        motion_adapter: The layers in time of a denoiser that has none; of a folder of its own.
    """

    name: str
    folder: Path
    denoiser: Part["Denoiser"]
    codec: Part["Codec"]
    text: Part["TextEncoder"]
    schedule: Part["Schedule"]
    num_tokens: int
    motion_adapter: Part["MotionLayers"] | None = None

    @property
    def weighed(self) -> tuple[Part[Any], ...]:
        """The parts that have weights."""
        adapter = () if self.motion_adapter is None else (self.motion_adapter,)
        return self.denoiser, self.codec, self.text, *adapter

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
        widest = network.max_side(config)
        if widest is not None and max(shape[2:]) > widest:
            raise UserError(
                f"{width}x{height} pixels: this base model's denoiser takes at most {widest} latents in a "
                f"row, and they are {shape[3]}x{shape[2]}: use a smaller size."
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

    def check_precision(self, mixed_precision: str, key: str) -> None:
        """Refuse a precision that the denoiser's weights do not stand.

        Args:
            mixed_precision: As the setting.
            key: What the setting is called.

        Raises:
            UserError: Names those that they stand.
        """
        precisions = self.denoiser.part_class.precisions
        if mixed_precision not in precisions:
            raise UserError(
                f"{key} {mixed_precision}: this base's weights do not stand it: use "
                f"{' or '.join(reversed(precisions))}."
            )

    def path_of(self, part: Part[Any]) -> Path:
        """The folder of a part."""
        return self.folder / part.folder if part.place is None else part.place

    def weight_files(self, part: Part[Any]) -> list[Path]:
        """List the weight files of a part; empty when they are missing."""
        stems = part.kind.weight_stems
        files = sorted(self.path_of(part).glob("*"))
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
        missing = [part for part in self.weighed if not self.weight_files(part)]
        own = [part.folder for part in missing if part.place is None]
        if own:
            raise UserError(
                f"{self.folder} has no weights for {', '.join(own)}. {self._remedy(missing[0])}"
            )
        for part in missing:
            raise UserError(f"{part.place} has no weights. {self._remedy(part)}")
        self.check_weights()

    def check_weights(self) -> None:
        """Refuse weights of which only a part is there, without reading them.

        Raises:
            UserError: Names the file that is missing, empty, or a pointer to the real one.
        """
        for part in self.weighed:
            check_weight_files(self.path_of(part), self.read_files(part), self._remedy(part))

    def _remedy(self, part: Part[Any]) -> str:
        return remedy(self.name if part.place is None else str(part.place), ZEROSCOPE_ID)

    def uses_safetensors(self, part: Part[Any]) -> bool:
        """Tell whether a part's weights are read from safetensors; else they are pickles."""
        return any(file.suffix == ".safetensors" for file in self.read_files(part))

    def fingerprint(self) -> str:
        """Identify configs, vocabulary and weights by a hash of all their bytes, wherever they lie."""
        files = [self.folder / name for name in self.config_files]
        files += self._vocabulary()
        if self.motion_adapter is not None:
            files.append(self.path_of(self.motion_adapter) / self.motion_adapter.kind.config_name)
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

    def _place_of(self, file: Path) -> str:
        """Name a file by its place in the base, wherever its folders lie."""
        adapter = self.motion_adapter
        if adapter is not None and file.parent == self.path_of(adapter):
            return f"{adapter.folder}/{file.name}"
        return file.relative_to(self.folder).as_posix()

    def _hash(self, files: Iterable[Path]) -> str:
        lines = [f"{self._place_of(file)}:{file_hash(file)}" for file in files]
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


def find_base(
    name: str, configs_only: bool = False, motion_adapter: str | None = None
) -> BaseLayout:
    """Find a base model and check its configs.

    Args:
        name: A folder in diffusers' layout, or a hub id, which is downloaded.
        configs_only: Download no weights.
        motion_adapter: Folder or hub id of the layers in time of a Stable Diffusion; None for a base
            that has its own.

    Raises:
        UserError: It is not there, incomplete, or no text-to-video model can be built of its configs;
            says how to get it.
    """

    def choose(files: Sequence[str]) -> list[str]:
        wanted = [file for file in files if _is_text_of_a_part(file)]
        if not configs_only:
            weighed = [folder for kind in KINDS if kind.weight_stems for folder in kind.folders]
            wanted += [file for folder in weighed for file in choose_weights(files, folder)]
        return wanted

    folder = find_folder(name, "base model folder", ZEROSCOPE_ID, choose)
    base = BaseFolder(name, folder, remedy(name, ZEROSCOPE_ID))
    _refuse_second_denoiser(base)
    folders = {kind: _find_folder(base, kind) for kind in KINDS}
    configs = {kind: base.read(f"{folders[kind]}/{kind.config_name}") for kind in KINDS}
    tokenizer = base.read(_TOKENIZER_CONFIG)
    adapter = find_motion_adapter(motion_adapter, configs, configs_only)

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
    return BaseLayout(name, folder, denoiser, codec, text, schedule, num_tokens, adapter)


def _find_folder(base: BaseFolder, kind: PartKind) -> str:
    """Find out in which of its folders a part lies; the first one when it is missing."""
    found = [folder for folder in kind.folders if base.has(f"{folder}/{kind.config_name}")]
    if len(found) > 1:
        raise UserError(
            f"{base.path} has both {found[0]} and {found[1]}: it is mixed of two models. {base.remedy}"
        )
    return found[0] if found else kind.folders[0]


def _refuse_second_denoiser(base: BaseFolder) -> None:
    """Refuse a base that changes its denoiser on the way, by the pipeline's index if it is there."""
    index = base.read(_INDEX).content if base.has(_INDEX) else {}
    if index.get("boundary_ratio") is not None or base.has(f"transformer_2/{DENOISER.config_name}"):
        raise UserError(
            f"{base.path} has a second denoiser for low noise, transformer_2, as Wan 2.2 A14B has, which is "
            "not supported yet: use a base with one, such as Wan 2.1."
        )


def _is_text_of_a_part(file: str) -> bool:
    part, _, name = file.partition("/")
    folders = {folder for kind in KINDS for folder in kind.folders} | {"tokenizer"}
    return file == _INDEX or (part in folders and name.endswith((".json", ".txt")))
