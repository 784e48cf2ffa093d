"""Draw the maps of a run: the one call behind `python -m motionmatcher.maps`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionmatcher.clips.clip_choice import clip_names
from motionmatcher.clips.clip_file import Frames
from motionmatcher.clips.reference import Reference
from motionmatcher.clips.video import write_gif
from motionmatcher.devices import compute_exactly
from motionmatcher.files import atomic_folder, write_json, write_text
from motionmatcher.maps.drawing import (
    Row,
    animate,
    choose_most_varied,
    cross_rows,
    draw_frame_attention,
    draw_sheet,
    frame_matrices,
    temporal_rows,
)
from motionmatcher.maps.heat import enlarged
from motionmatcher.maps.page import make_page
from motionmatcher.maps.plan import RESULTS_NAME, MapPlan
from motionmatcher.maps.reading import ReferenceMaps, displacements, own_frame, read_reference_maps
from motionmatcher.maps.words import Word
from motionmatcher.reporting import progress_bar
from motionmatcher.runs.run_base import load_run_base


@dataclass(frozen=True)
class RunMaps:
    """The maps of a run's reference.

    Attributes:
        folder: Holds page, sheets, animations and `maps.json`.
        clip: The reference's name; the first, of several.
        prompt: The reference's.
        words: Those drawn.
        maps: What the features see, at each timestep.
    """

    folder: Path
    clip: str
    prompt: str
    words: Sequence[Word]
    maps: Sequence[ReferenceMaps]

    @property
    def page(self) -> Path:
        """What to look at."""
        return self.folder / "index.html"

    def as_dict(self) -> dict[str, Any]:
        """Put what is drawn into plain JSON types."""
        return {
            "page": str(self.page),
            "clip": self.clip,
            "prompt": self.prompt,
            "words": [{"word": word.text, "tokens": list(word.tokens)} for word in self.words],
            "timesteps": [self._describe(maps) for maps in self.maps],
        }

    def _describe(self, maps: ReferenceMaps) -> dict[str, Any]:
        described: dict[str, Any] = {
            "timestep": maps.timestep,
            "signal": maps.signal,
            "noise": maps.noise,
            "words": {word.text: _extremes(maps.of_word(word)) for word in self.words},
        }
        if maps.frame_attention is not None:
            described["own_frame"] = _extremes(own_frame(maps.frame_attention))
            described["frame_attention"] = frame_matrices(maps.frame_attention)[0].tolist()
        if maps.flow is not None:
            described["displacement"] = _extremes(displacements(maps.flow).norm(dim=-1))
        return described


def write_maps(plan: MapPlan, device: torch.device) -> RunMaps:
    """Draw the maps that a plan asks for into `RUN/maps`, whole or not at all.

    Args:
        plan: What `plan_maps` checked.
        device: Where to compute.

    Raises:
        UserError: Weights are damaged, the clip cannot be read, or the file system refuses.
    """
    settings, data = plan.settings, plan.settings.train_data.first
    compute_exactly(device)
    base = load_run_base(plan.run, settings, plan.layout, device, [data.single_video_prompt])
    reference = Reference.each_of_run(settings, base, plan.run)[0]
    latents = reference.latents(data.n_sample_frames, data.width, data.height)
    maps = read_reference_maps(base, settings, latents, progress_bar(plan.timesteps, "maps"))
    frames = frames_of_latents(base.codec.decode(latents[0]), latents.shape[2])
    words = plan.words if plan.asked else choose_most_varied(maps, plan.words)
    clip = clip_names(settings.train_data)[0]
    drawn = RunMaps(plan.folder, clip, data.single_video_prompt, words, maps)
    fps = data.fps * (len(frames) - 1) / max(data.n_sample_frames - 1, 1) or data.fps
    with atomic_folder(plan.folder) as folder:
        for each in maps:
            _write_rows(
                folder / f"cross-attention-{each.timestep}", cross_rows(each, frames, words), fps
            )
            _write_rows(
                folder / f"temporal-attention-{each.timestep}", temporal_rows(each, frames), fps
            )
            if each.frame_attention is not None:
                picture = draw_frame_attention(each.frame_attention)
                (folder / f"frames-{each.timestep}.png").write_bytes(picture)
        write_text(
            folder / drawn.page.name,
            make_page(f"{clip}, {plan.run.folder.name}", drawn.prompt, maps),
        )
        write_json(folder / RESULTS_NAME, drawn.as_dict())
    return drawn


def frames_of_latents(frames: Frames, num_latents: int) -> Frames:
    """Take the frame that each latent in time stands for, large enough to be drawn on.

    Args:
        frames: uint8 (F, H, W, 3).
        num_latents: Latents in time: one for each frame, or the first for the first and each other for
            as many that end with its own.
    """
    places = np.linspace(0, len(frames) - 1, num_latents).round().astype(int)
    return enlarged(frames[places])


def _write_rows(path: Path, rows: Sequence[Row], fps: float) -> None:
    from PIL import Image

    Image.fromarray(draw_sheet(rows)).save(path.with_suffix(".png"))
    write_gif(path.with_suffix(".gif"), animate(rows), fps)


def _extremes(values: torch.Tensor) -> dict[str, Any]:
    """Least, mean and largest value of maps (F, h, w), and where that is: frame, row, column."""
    place = np.unravel_index(int(values.argmax()), values.shape)
    return {
        "least": values.min().item(),
        "mean": values.mean().item(),
        "largest": values.max().item(),
        "hottest": [int(index) for index in place],
    }
