"""Generate videos for prompts with a trained run: the one call behind inference.py."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.bases.lora import LoraInfo, load_lora
from motionmatcher.clips.clip_choice import NOISE_CLIP, clip_names, draw_clip
from motionmatcher.clips.contact_sheet import write_contact_sheet
from motionmatcher.clips.reference import Reference, inversion_noises
from motionmatcher.clips.video import Frames, read_video, write_gif, write_mp4
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.estimate import check_sampling_memory
from motionmatcher.devices import compute_exactly, weight_dtype
from motionmatcher.diffusion.sampling import SamplingSettings, sample_latents
from motionmatcher.errors import UserError
from motionmatcher.files import remove_unfinished, slug, unused_path
from motionmatcher.reporting import note, progress_bar
from motionmatcher.runs.manifest import append_to_manifest, names_locked
from motionmatcher.runs.pack_folder import Pack
from motionmatcher.runs.run_folder import Run

MAX_SHEET_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What shall be generated.

    Attributes:
        prompts: Texts; each gets `repeat_num` videos.
        seed: Seed of each prompt's first video; the next ones count up.
        repeat_num: Videos per prompt.
        batch_size: Videos computed at a time.
        sampling: How to sample.
        run: The trained run, or a pack of one.
        trained: The run's settings; None for a published run.
        checkpoint: Folder of the checkpoint, or the pack's own.
        lora_rank: The rank the user expects, or None.
        layout: The base model.
        mixed_precision: "no", "fp16" or "bf16".
        compile: Compile the denoiser's layers.
        vae_tiling: Encode and decode in tiles.
        fps: Frames per second of the files.
        gif: Write a GIF beside each video.
        output_dir: Folder for videos, manifest and contact sheet.
        noise_clip: Index of the clip whose noise the noise prior mixes in; None draws one of the run's for
            each video, by its seed.
        notes: Things the user should know, one line each.
    """

    prompts: Sequence[str]
    seed: int
    repeat_num: int
    batch_size: int
    sampling: SamplingSettings
    run: Run | Pack
    trained: TrainSettings | None
    checkpoint: Path
    lora_rank: int | None
    layout: BaseLayout
    mixed_precision: str
    compile: bool
    vae_tiling: bool
    fps: float
    gif: bool
    output_dir: Path
    noise_clip: int | None = None
    notes: Sequence[str] = ()

    @property
    def lora_folder(self) -> Path:
        """Where the LoRA's files are."""
        return self.checkpoint if isinstance(self.run, Pack) else self.checkpoint / "lora"

    @property
    def noise_clips(self) -> list[str]:
        """Names of the clips whose noise may be mixed in; none where there is no choice."""
        several = self.trained is not None and len(self.trained.train_data.clips) > 1
        if not several or self.sampling.noise_prior == 0:
            return []
        assert self.trained is not None
        names = clip_names(self.trained.train_data)
        return names if self.noise_clip is None else [names[self.noise_clip]]


@dataclass(frozen=True)
class GeneratedVideo:
    """A video file, and what the manifest says of it.

    Attributes:
        folder: Where it is.
        entry: The manifest's entry: file, prompt, seed, checkpoint, settings, ….
    """

    folder: Path
    entry: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The file, an mp4."""
        return self.folder / str(self.entry["file"])

    @property
    def prompt(self) -> str:
        """What it shows."""
        return str(self.entry["prompt"])

    @property
    def seed(self) -> int:
        """Seed of its start noise."""
        return int(self.entry["seed"])

    @property
    def frames(self) -> Frames:
        """Its frames, read from the file: uint8 (F, H, W, 3)."""
        return read_video(self.path)[0]


@dataclass(frozen=True)
class Job:
    """One video to make."""

    prompt: str
    seed: int


class Generator:
    """A run's base model, loaded once for one request's videos or for those of several.

    The others may differ from the first in checkpoint, in sampling, and in prompts as far as the first
    has them too. A noise prior of theirs must be there in the first: only then is what inverting needs
    prepared.
    """

    def __init__(self, request: GenerationRequest, device: torch.device) -> None:
        """Load the base model, this process's part of it under `accelerate launch`.

        Args:
            request: The first.
            device: Where to compute.
        """
        compute_exactly(device)
        self.processes = PartialState(cpu=device.type == "cpu")
        if self.processes.num_processes > 1:
            device = self.processes.device
        self.device = device
        trained = request.trained
        check_sampling_memory(
            request.layout, request.sampling, request.batch_size, request.mixed_precision, device
        )
        self.base = load_base_model(
            request.layout,
            device,
            weight_dtype(request.mixed_precision, device),
            rescale_schedule=trained is not None and trained.rescale_schedule,
            flow_shift=trained.flow_shift if trained is not None else None,
            vae_tiling=request.vae_tiling,
            prompts=[*request.prompts, *request.sampling.further_prompts],
            text_states=request.run.text_states,
        )
        self.references = _references(request, self.base)
        self._loaded: tuple[Path, LoraInfo] | None = None
        self._load_lora(request)
        kept = request.run.text_states
        if kept and self.processes.is_main_process and (trained is None or trained.cache_latents):
            self.base.text.write_states(kept)
        if request.compile:
            self.base.denoiser.compile_layers()

    @torch.no_grad()
    def generate(
        self, request: GenerationRequest, contact_sheet: bool = True
    ) -> list[GeneratedVideo]:
        """Generate all videos of a request, this process's share under `accelerate launch`.

        Args:
            request: What to generate.
            contact_sheet: Show the videos in one picture, too.

        Returns:
            All videos, in the order of prompts and seeds.
        """
        info = self._load_lora(request)
        if self.processes.is_main_process:
            base_note = self.base.note_on_record(info.base, f"the LoRA of {request.checkpoint}")
            texts = [*request.prompts, request.sampling.negative_prompt]
            for line in (*request.notes, base_note, *self.base.text.cut_off_notes(texts)):
                if line:
                    note(line)
            remove_unfinished(request.output_dir)
        with self.processes.main_process_first():
            inversion_noise = self.inversion_noise(request)
        encoded = dict(zip(request.prompts, self.base.text.encode(request.prompts), strict=True))
        negative_states = self.base.text.encode([request.sampling.negative_prompt])
        entries: list[dict[str, Any]] = []
        # Whole batches are dealt out, so that the number of processes changes no result.
        with self.processes.split_between_processes(_batches(request)) as share:
            for number, batch in enumerate(share, 1):
                latents = sample_latents(
                    self.base,
                    torch.stack([encoded[job.prompt] for job in batch]),
                    negative_states,
                    [job.seed for job in batch],
                    request.sampling,
                    _noise_of_clips(request, batch, inversion_noise),
                    partial(progress_bar, description=f"batch {number} of {len(share)}"),
                )
                for job, video in zip(batch, latents, strict=True):
                    entries.append(_write_video(request, job, self.base.codec.decode(video)))
        entries = gather_object(entries)  # of all processes, in the order of the jobs
        if contact_sheet and self.processes.is_main_process:
            _write_contact_sheet(request, entries)
        return [GeneratedVideo(request.output_dir, entry) for entry in entries]

    @torch.no_grad()
    def inversion_noise(self, request: GenerationRequest) -> torch.Tensor | None:
        """Give the noise that a request mixes in, found anew where it is not kept.

        Returns:
            (clips, C, F, h, w): of the run's clips, or of the one that the request names; None without a
            noise prior.
        """
        sampling = request.sampling
        if sampling.noise_prior == 0:
            return None
        if isinstance(request.run, Pack):
            return request.run.inversion_noise()
        only = request.noise_clip
        references = self.references if only is None else self.references[only : only + 1]
        return torch.cat(inversion_noises(references, sampling))

    def _load_lora(self, request: GenerationRequest) -> LoraInfo:
        if self._loaded is None or self._loaded[0] != request.checkpoint:
            info = load_lora(self.base.denoiser, request.lora_folder)
            self._loaded = request.checkpoint, info
        info = self._loaded[1]
        if request.lora_rank not in (None, info.rank):
            raise UserError(
                f"lora_rank {request.lora_rank}: the checkpoint's LoRA has rank {info.rank}."
            )
        return info


def generate(request: GenerationRequest, device: torch.device) -> list[GeneratedVideo]:
    """Generate all videos of a request, this process's share under `accelerate launch`.

    Args:
        request: What to generate.
        device: Where to compute.

    Returns:
        All videos, in the order of prompts and seeds.
    """
    return Generator(request, device).generate(request)


def _batches(request: GenerationRequest) -> list[list[Job]]:
    jobs = [
        Job(prompt, request.seed + repeat)
        for prompt in request.prompts
        for repeat in range(request.repeat_num)
    ]
    size = request.batch_size
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def _noise_clip(request: GenerationRequest, job: Job) -> int:
    """Which of `request.noise_clips` a video gets its noise of."""
    return draw_clip(len(request.noise_clips), job.seed, NOISE_CLIP)


def _noise_of_clips(
    request: GenerationRequest, batch: Sequence[Job], noise: torch.Tensor | None
) -> torch.Tensor | None:
    """Give the noise for each video of a batch, or the one for them all."""
    if noise is None or len(noise) == 1:
        return noise
    return noise[[_noise_clip(request, job) for job in batch]]


def _references(request: GenerationRequest, base: BaseModel) -> list[Reference]:
    if isinstance(request.run, Pack):
        return []
    if request.trained is not None:
        return Reference.each_of_run(request.trained, base, request.run)
    folder = request.run.reference_folder
    return [Reference(None, base, seed=0, read_folder=folder, write_folder=folder)]


def _noise_entry(request: GenerationRequest, job: Job) -> dict[str, str]:
    names = request.noise_clips
    return {"noise_clip": names[_noise_clip(request, job)]} if names else {}


def _write_contact_sheet(request: GenerationRequest, entries: list[dict[str, Any]]) -> None:
    shown = entries[:MAX_SHEET_ROWS]
    clips = [read_video(request.output_dir / entry["file"])[0] for entry in shown]
    labels = [f"{entry['seed']}: {entry['prompt']}" for entry in shown]
    with names_locked(request.output_dir):
        write_contact_sheet(unused_path(request.output_dir / "contact_sheet.png"), clips, labels)


def _adapter_entry(layout: BaseLayout) -> dict[str, str]:
    adapter = layout.motion_adapter
    return {} if adapter is None else {"motion_adapter": str(layout.path_of(adapter))}


def _write_video(request: GenerationRequest, job: Job, frames: Frames) -> dict[str, Any]:
    """Write one video under a name not taken yet, and enter it in the manifest."""
    folder = request.output_dir
    with names_locked(folder):
        suffixes = (".mp4", ".gif") if request.gif else (".mp4",)
        path = unused_path(folder / f"{slug(job.prompt)}_{job.seed}.mp4", suffixes)
        write_mp4(path, frames, request.fps)
        if request.gif:
            write_gif(path.with_suffix(".gif"), frames, request.fps)
        entry = {
            "file": path.name,
            "prompt": job.prompt,
            "negative_prompt": request.sampling.negative_prompt,
            "seed": job.seed,
            "checkpoint": str(request.checkpoint),
            "settings": {
                **asdict(request.sampling),
                **_noise_entry(request, job),
                "fps": request.fps,
                "model": request.layout.name,
                **_adapter_entry(request.layout),
                "mixed_precision": request.mixed_precision,
                "batch_size": request.batch_size,
                **({"vae_tiling": True} if request.vae_tiling else {}),
            },
        }
        append_to_manifest(folder, entry)
    return entry
