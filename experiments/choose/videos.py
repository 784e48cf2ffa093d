"""Make and score the videos of a run's settings, each once: what is there already is taken as it is."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.folders import read_outputs
from evaluation.looks import Array, colours, looks_taken_over
from evaluation.metrics import CLIP_T, COLOURS_TAKEN_OVER, LOOKS_TAKEN_OVER, Metric
from evaluation.motion_scorer import MotionScorer
from evaluation.scorers import Models
from experiments.choose.trials import BASE, ChoiceVideo
from motionmatcher.clips.clip_file import Frames
from motionmatcher.clips.video import read_video
from motionmatcher.file_hashes import file_hash
from motionmatcher.files import write_json
from motionmatcher.generation.generate import GenerationRequest, Generator
from motionmatcher.reporting import quiet
from motionmatcher.runs.choice import Choice
from motionmatcher.runs.run_folder import Run
from motionmatcher.text_files import read_json

SCORES_NAME = "scores.json"


class Studio:
    """A run's base model and the models that score, at work on one folder of videos."""

    def __init__(
        self,
        request: GenerationRequest,
        reference: Frames,
        models: Models,
        device: torch.device,
    ) -> None:
        """Prepare; the base model is loaded when a video is missing.

        Args:
            request: Has all prompts, the folder, and what settings of the grid do not change; its noise
                prior is the grid's highest.
            reference: The frames that were trained on, uint8 (F, H, W, 3).
            models: What scores.
            device: Where to compute.
        """
        self.request, self.device = request, device
        self.scorer = Scorer(models, reference)

    @cached_property
    def generator(self) -> Generator:
        """The base model."""
        return Generator(self.request, self.device)

    def folder(self, setting: Choice) -> Path:
        """Where a setting's videos are; its name changes with all that they depend on."""
        request = self._request(setting)
        files = sorted(path for path in (request.checkpoint / "lora").iterdir() if path.is_file())
        depends_on = {
            "lora": [file_hash(file) for file in files] if setting != BASE else None,
            "sampling": asdict(request.sampling),
            "model": request.layout.name,
            "mixed_precision": request.mixed_precision,
            "fps": request.fps,
        }
        digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:8]
        return self.request.output_dir / f"{_name(setting)}-{digest}"

    def seconds_per_video(self, settings: Sequence[Choice], seeds: Sequence[int]) -> float:
        """Make and score the first videos that are missing, and say what one took; 0 where none is."""
        for setting, seed in product(settings, seeds):
            made = self._made(self.folder(setting))
            num_missing = sum((prompt, seed) not in made for prompt in self.request.prompts)
            if num_missing:
                self.generator.inversion_noise(self.request)  # loads what need not be loaded again
                begun = time.monotonic()
                self.videos(setting, [seed])
                return (time.monotonic() - begun) / num_missing
        return 0.0

    def videos(self, setting: Choice, seeds: Sequence[int]) -> list[ChoiceVideo]:
        """Give a setting's videos with their scores, in the order of prompts and seeds."""
        folder = self.folder(setting)
        made = self._made(folder)
        for file in set(folder.glob("*.mp4")) - set(made.values()):
            file.unlink()  # of a program killed before it was entered in the manifest
        for seed in seeds:
            missing = [p for p in self.request.prompts if (p, seed) not in made]
            if missing:
                wanted: dict[str, Any] = {"prompts": missing, "seed": seed, "repeat_num": 1}
                with quiet():  # one bar for all
                    request = replace(self._request(setting), output_dir=folder, **wanted)
                    self.generator.generate(request, contact_sheet=False)
        made = self._made(folder)
        paths = {(p, seed): made[p, seed] for p in self.request.prompts for seed in seeds}
        own = paths if setting == BASE else self._made(self.folder(BASE))
        values = self.scorer.values(folder, {paths[key]: (key[0], own[key]) for key in paths})
        return [ChoiceVideo(path, *key, values[path.name]) for key, path in paths.items()]

    def _request(self, setting: Choice) -> GenerationRequest:
        own: dict[str, Any] = {"noise_prior": setting.noise_prior, "lora_scale": setting.lora_scale}
        request = replace(self.request, sampling=replace(self.request.sampling, **own))
        if setting == BASE:  # any checkpoint does
            return request
        assert isinstance(request.run, Run)  # a pack has nothing to choose from
        return replace(request, checkpoint=request.run.find_checkpoint(setting.checkpoint))

    def _made(self, folder: Path) -> dict[tuple[str, int], Path]:
        return {
            (video.prompt or "", video.seed or 0): video.path
            for video in read_outputs(folder).values()
            if video.path.is_file()
        }


class Scorer:
    """What is measured of each video: motion, looks taken over and, with CLIP, the prompt."""

    def __init__(self, models: Models, reference: Frames) -> None:
        self.encoder = models.encoder
        motion = models.motion_scorer(reference)
        assert motion is not None, "a tracker is always there"
        self.motion: MotionScorer = motion
        self.settings = dict(motion.settings)
        if self.encoder is not None:
            self.settings["clip_model"] = self.encoder.name
        self.reference = self._looks(reference)

    @property
    def metrics(self) -> list[Metric]:
        """What it computes."""
        of_clip = [] if self.encoder is None else [LOOKS_TAKEN_OVER, CLIP_T]
        return [*self.motion.metrics, COLOURS_TAKEN_OVER, *of_clip]

    def values(
        self, folder: Path, videos: Mapping[Path, tuple[str, Path]]
    ) -> dict[str, dict[str, float | None]]:
        """Score a folder's videos, as far as its file of scores does not have them.

        Args:
            folder: Theirs.
            videos: Of each, its prompt and the base's own video for it.

        Returns:
            Values by metric name, by file name.
        """
        file = folder / SCORES_NAME
        known = read_json(file, "Delete it.") if file.is_file() else {}
        found = known.get("videos", {}) if known.get("settings") == self.settings else {}
        for path, (prompt, own) in videos.items():
            if path.name not in found:
                found[path.name] = self._score(path, prompt, own)
                write_json(file, {"settings": self.settings, "videos": found})
        return found

    def _score(self, path: Path, prompt: str, own: Path) -> dict[str, float | None]:
        frames = read_video(path)[0]
        values = dict(self.motion.score(frames).values)
        looks, base = self._looks(frames), self._looks(read_video(own)[0])
        for name, reference in self.reference.items():
            values[name] = looks_taken_over(looks[name], base[name], reference)
        if self.encoder is not None:
            text = self.encoder.encode_text(prompt).numpy().astype(float)
            values[CLIP_T.name] = float(looks[LOOKS_TAKEN_OVER.name] @ text / np.linalg.norm(text))
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def _looks(self, frames: Frames) -> dict[str, Array]:
        """Describe a clip's looks, by the names of the metrics that compare them."""
        found = {COLOURS_TAKEN_OVER.name: colours(frames)}
        if self.encoder is not None:
            embeddings = self.encoder.encode_frames(frames).numpy().astype(float)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            found[LOOKS_TAKEN_OVER.name] = embeddings.mean(axis=0)
        return found


def _name(setting: Choice) -> str:
    if setting == BASE:
        return "base"
    return f"checkpoint-{setting.checkpoint}_prior-{setting.noise_prior:g}_scale-{setting.lora_scale:g}"
