"""The reference clip as the model needs it: latents and inversion noise, made once and kept."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.video import fit_frames, probe, read_clip
from motionmatcher.config.settings import TrainData, TrainSettings
from motionmatcher.diffusion.flow_schedule import FlowSchedule
from motionmatcher.diffusion.sampling import Progress, SamplingSettings, invert_reference
from motionmatcher.errors import UserError, WriteError
from motionmatcher.finiteness import require_finite
from motionmatcher.paths import find_path
from motionmatcher.random_streams import generator
from motionmatcher.reporting import note, progress_bar
from motionmatcher.runs.run_folder import Run
from motionmatcher.tensor_files import (
    read_description,
    read_pickle,
    read_tensors,
    require_sound,
    write_tensors,
)

_NOT_FINITE_ADVICE = "use mixed_precision bf16 or no, or another base model."


@dataclass(frozen=True)
class ReferenceClip:
    """Which frames of which file the reference is.

    Attributes:
        path: The clip.
        frames: Which of its frames.
        run_folder: The run that the path is from, which knows where it led; None for none.
    """

    path: str
    frames: FrameChoice
    run_folder: Path | None = None

    @classmethod
    def of(cls, data: TrainData, run_folder: Path | None = None) -> "ReferenceClip":
        """Take the single clip of a run's settings, or one of them by `TrainData.each`."""
        return cls(data.single_video_path, FrameChoice.of(data), run_folder)

    @property
    def file(self) -> str:
        """The file that the path names from here."""
        return find_path(self.path, self.run_folder)

    def place(self) -> dict[str, Any]:
        """Say where the frames are, without looking at the file."""
        return {"path": self.path, **self.frames.place()}

    def made_from(self) -> dict[str, Any]:
        """Say what latents of this clip are made from, beyond where its frames are."""
        content = {"clip_content": _content_fingerprint(self.file)}
        grid_fps = self.frames.grid_fps
        resampled = probe(self.file, grid_fps).note is not None
        return content | ({"clip_fps": grid_fps} if resampled else {})


class Reference:
    """Latents and inversion noise of a reference clip, from the cache or made anew.

    Each is kept in a file named by a hash of the settings that it depends on, which its metadata
    spell out. Only when no file fits is the clip read.
    """

    def __init__(
        self,
        clip: ReferenceClip | None,
        base: BaseModel,
        seed: int,
        read_folder: Path | None,
        write_folder: Path | None,
        inversion_iterations: int | None = None,
        is_only: bool = True,
    ) -> None:
        """Prepare to look up or make a reference.

        Args:
            clip: The reference; None when nobody knows it (a published run).
            base: The base model that encodes and inverts.
            seed: The run's seed; the VAE's posterior is drawn from its stream "latents".
            read_folder: Holds cached files, ours or published; None for none.
            write_folder: Gets what is made anew; None keeps it in memory only.
            inversion_iterations: How often each step of the inversion is repeated; None for as often as
                the base's schedule wants it.
            is_only: It is the run's only clip, so that a published cache, which names no clip, is its.
        """
        self.clip = clip
        self.base = base
        self.seed = seed
        self.folders = [folder for folder in (read_folder, write_folder) if folder is not None]
        self.write_folder = write_folder
        self.inversion_iterations = inversion_iterations
        self.is_only = is_only
        # What was read or made, by the name of its file, so that no file is read twice.
        self._held: dict[str, Tensor] = {}
        self._published: Tensor | None = None

    @classmethod
    def each_of_run(cls, settings: TrainSettings, base: BaseModel, run: Run) -> list["Reference"]:
        """Look up or make the references of a run, one a clip, for training and inference alike."""
        cached, clips = settings.cached_latent_dir, settings.train_data.each
        return [
            cls(
                ReferenceClip.of(data, run.folder),
                base,
                settings.seed,
                read_folder=Path(run.find_path(cached)) if cached else run.reference_folder,
                write_folder=run.reference_folder if settings.cache_latents else None,
                inversion_iterations=settings.validation_data.inversion_iterations,
                is_only=len(clips) == 1,
            )
            for data in clips
        ]

    def latents(self, num_frames: int, width: int, height: int) -> Tensor:
        """Give the reference's latents at a size.

        Args:
            num_frames: F.
            width: Pixels.
            height: Pixels.

        Returns:
            (1, C, F, h, w), fp32, on the device.

        Raises:
            UserError: No cached file fits and the clip cannot be read.
        """
        depends_on = self._latents_depend_on(num_frames, width, height)
        shape = 1, *self.base.codec.latent_shape(num_frames, width, height)
        latents = self._find("latents", depends_on, shape)
        if latents is None:
            latents = self._published_latents(num_frames, width, height)
            made_from: dict[str, Any] = {}
            if latents is None:
                latents = self._encode_clip(num_frames, width, height)
                assert self.clip is not None
                made_from = self.clip.made_from()
            self._keep("latents", depends_on, latents, made_from)
        return latents.to(self.base.device)

    def has_latents(self, num_frames: int, width: int, height: int) -> bool:
        """Tell whether the cache holds latents of a size, ours or published."""
        found = self._find_file("latents", self._latents_depend_on(num_frames, width, height))
        return found is not None or self._published_latents(num_frames, width, height) is not None

    def check_clip_is_unchanged(self, num_frames: int, width: int, height: int) -> None:
        """Make sure that cached latents are those of the clip as the file has it now.

        Raises:
            UserError: The file's content is another one than the cached latents were made from, or they
                were made from it at another frame rate.
        """
        file = self._find_file("latents", self._latents_depend_on(num_frames, width, height))
        if file and self.clip and Path(self.clip.file).is_file():
            then, now = read_description(file), self.clip.made_from()
            advice = "delete that file, or leave cached_latent_dir out."
            if then.get("clip_content") not in (None, now["clip_content"]):
                raise UserError(
                    f"{self.clip.file} has changed since its latents in {file} were made: {advice}"
                )
            if then.get("clip_fps") != now.get("clip_fps"):
                raise UserError(
                    f"{file} holds latents of {self.clip.file} at another train_data.fps: {advice}"
                )

    def inversion_noise(
        self, num_frames: int, width: int, height: int, num_steps: int, progress: Progress = iter
    ) -> Tensor:
        """Give the noise that inversion finds for the reference.

        Args:
            num_frames: F.
            width: Pixels.
            height: Pixels.
            num_steps: DDIM steps of the inversion.
            progress: Wraps the steps when it is made anew.

        Returns:
            (1, C, F, h, w), fp32, on the device.

        Raises:
            UserError: As `latents`.
        """
        latents = self.latents(num_frames, width, height)
        depends_on = {
            "latents": tensor_fingerprint(latents),
            "base": self.base.fingerprint,
            "num_inference_steps": num_steps,
            **self._inversion_depends_on(),
        }
        noise = self._find("inversion", depends_on, latents.shape)
        if noise is None:
            empty = self.base.text.encode([""])
            inversion = invert_reference(
                self.base, latents, empty, num_steps, progress, self.inversion_iterations
            )
            noise, found = inversion.noise, inversion.deviations
            if found:
                note(
                    f"the reference's inversion noise had a standard deviation of {min(found):.2f} to "
                    f"{max(found):.2f} in its channels; it is scaled to 1."
                )
            self._keep("inversion", depends_on, noise, {"deviations": found} if found else None)
        return noise.to(self.base.device)

    def _inversion_depends_on(self) -> dict[str, Any]:
        """Say what the inversion depends on beyond what every one does; nothing for a published one."""
        schedule, iterations = self.base.schedule, self.inversion_iterations
        iterations = schedule.inversion_iterations if iterations is None else iterations
        shift = {"flow_shift": schedule.shift} if isinstance(schedule, FlowSchedule) else {}
        return {**({"iterations": iterations} if iterations else {}), **shift}

    def _latents_depend_on(self, num_frames: int, width: int, height: int) -> dict[str, Any]:
        tiling = {"vae_tiling": True} if self.base.codec.tiling else {}
        return {
            "clip": self.clip.place() if self.clip else None,
            "num_frames": num_frames,
            "width": width,
            "height": height,
            "base": self.base.fingerprint,
            "seed": self.seed,
            **tiling,
        }

    def _encode_clip(self, num_frames: int, width: int, height: int) -> Tensor:
        if self.clip is None:
            raise UserError(
                f"the run has no reference latents of {num_frames} frames at {width}x{height}, and "
                "does not say which clip they come from: keep its size, or use --noise_prior 0."
            )
        frames = read_clip(self.clip.file, self.clip.frames, num_frames)
        pixels = fit_frames(frames, width, height)
        return self.base.codec.encode(pixels, generator(self.seed, "latents"))

    def _find(
        self, kind: str, depends_on: Mapping[str, Any], shape: Sequence[int]
    ) -> Tensor | None:
        name = _file_name(kind, depends_on)
        if name in self._held:
            return self._held[name]
        file = self._find_file(kind, depends_on)
        if file is None:
            return None
        content, description = read_tensors(file)
        if (
            content.keys() != {kind}
            or _file_name(kind, _part(description, depends_on)) != file.name
        ):
            raise UserError(f"{file} does not hold what its name says: delete it.")
        self._held[name] = require_sound(f"{file}: {kind}", content[kind], shape)
        return self._held[name]

    def _find_file(self, kind: str, depends_on: Mapping[str, Any]) -> Path | None:
        """Look in the cache; files of older versions count, which record a sampled fingerprint."""
        names = [
            _file_name(kind, {**depends_on, "base": fingerprint})
            for fingerprint in (self.base.fingerprint, self.base.sampled_fingerprint)
            if fingerprint is not None
        ]
        files = (folder / name for name in names for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def _keep(
        self,
        kind: str,
        depends_on: Mapping[str, Any],
        tensor: Tensor,
        made_from: Mapping[str, Any] | None = None,
    ) -> None:
        require_finite(tensor, f"the reference's {kind}", _NOT_FINITE_ADVICE)
        name = _file_name(kind, depends_on)
        self._held[name] = tensor
        if self.write_folder is not None:
            description = {**depends_on, **(made_from or {})}
            try:
                write_tensors(self.write_folder / name, {kind: tensor}, description)
            except WriteError as error:
                note(f"the reference's {kind} will have to be made again: {error}")

    def _published_latents(self, num_frames: int, width: int, height: int) -> Tensor | None:
        """Look for `cached_*.pt` of a published run: a dict with `latents` (C, F, h, w)."""
        if not self.is_only:
            return None
        shape = self.base.codec.latent_shape(num_frames, width, height)
        if self._published is not None and self._published.shape[1:] == shape:
            return self._published
        for folder in self.folders:
            for file in sorted(folder.glob("*.pt")):
                content = read_pickle(file)
                if not isinstance(content, dict) or "latents" not in content:
                    raise UserError(f"{file} is no published cache: it has no 'latents'.")
                latents = require_sound(f"{file}: latents", content["latents"])
                if latents.shape == shape:
                    self._published = latents[None].float()
                    return self._published
        return None


def inversion_noises(references: Sequence[Reference], sampling: SamplingSettings) -> list[Tensor]:
    """Give the inversion noise of each reference for a sampling, with a bar where it has to be made."""
    return [
        reference.inversion_noise(
            sampling.num_frames,
            sampling.width,
            sampling.height,
            sampling.num_inference_steps,
            lambda steps: progress_bar(steps, "inverting the reference"),
        )
        for reference in references
    ]


def tensor_fingerprint(tensor: Tensor) -> str:
    """Identify a tensor by a hash of its values in fp32."""
    values = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def _content_fingerprint(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _part(description: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: description.get(key) for key in keys}


def _file_name(kind: str, depends_on: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    return f"{kind}-{digest[:12]}.safetensors"
