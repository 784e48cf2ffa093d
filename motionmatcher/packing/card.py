"""The model card of a motion pack, as the Hugging Face Hub reads it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motionmatcher.bases.hub import hub_id_of
from motionmatcher.bases.lora import ADAPTER_FILE
from motionmatcher.config.settings import TrainSettings
from motionmatcher.runs.pack_folder import NOISE_FILE, PACK_FILE, SHEET_FILE

if TYPE_CHECKING:
    from motionmatcher.bases.denoiser import Denoiser

PAPER = "https://arxiv.org/abs/2502.13234"
_TAGS = ["motionmatcher", "lora", "text-to-video", "motion-transfer"]
_PIPELINE_TAG = "text-to-video"
_TO_FILL = "*to be filled in*"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model card says.

    Attributes:
        settings: As the pack holds them.
        step: Step of the checkpoint.
        network: The base's denoiser, which knows its pipeline in diffusers.
        noise_prior: What the run was previewed with.
        with_noise: The pack holds the inversion noise.
        with_sheet: It has a contact sheet.
        with_frames: The sheet shows the clip's frames.
        license: The LoRA's, as the Hub writes it.
        clip_license: The clip's source and licence in words.
        scores: The rows of a table, its head first.
    """

    settings: TrainSettings
    step: int
    network: type["Denoiser"]
    noise_prior: float
    with_noise: bool
    with_sheet: bool
    with_frames: bool
    license: str | None
    clip_license: str | None
    scores: Sequence[Sequence[str]] | None

    def text(self) -> str:
        """Write the card as Markdown, with the Hub's metadata before it."""
        settings = self.settings
        prompt = _one_line(settings.train_data.single_video_prompt)
        parts = [
            f"---\n{self._metadata()}---",
            f'# The motion of "{prompt}"',
            f"A LoRA that makes videos of other subjects move as one reference clip does, trained with "
            f"[MotionMatcher]({PAPER}) on `{settings.pretrained_model_path}`.",
            *([f"![Videos made with this pack]({SHEET_FILE})"] if self.with_sheet else []),
            "## Use it with MotionMatcher",
            "```bash\nhf download USER/PACK --local-dir packs/PACK\n"
            'python inference.py --pack packs/PACK --prompt "…"\n```',
            "Size, frames, steps and guidance are those below unless flags say otherwise; "
            "`--model` names the base model if it lies elsewhere.",
            "## Use it with diffusers",
            f"```python\n{self._program()}```",
            "There the LoRA is on in all steps, and there is no noise prior: videos differ from those of "
            "MotionMatcher.",
            "## Settings",
            _table([["setting", "value"], *self._rows()]),
            f"`{PACK_FILE}` has them for programs.",
            *(["## Scores", _table(self.scores)] if self.scores else []),
            "## What it holds of the clip",
            self._of_the_clip(),
            "## Licence",
            f"- This LoRA: {self.license or _TO_FILL}\n"
            "- The base model: its own licence and terms hold for what is made with it.\n"
            f"- The reference clip, its source and licence: {_one_line(self.clip_license) or _TO_FILL}",
        ]
        return "\n\n".join(parts) + "\n"

    def _metadata(self) -> str:
        """Write the YAML that stands before the text."""
        from huggingface_hub import ModelCardData

        settings = self.settings
        names = [settings.pretrained_model_path, settings.motion_adapter_path]
        ids = [found for each in names if each and (found := hub_id_of(each))]
        data = ModelCardData(
            base_model=ids[0] if len(ids) == 1 else (ids or None),
            base_model_relation="adapter" if ids else None,
            library_name="diffusers",
            pipeline_tag=_PIPELINE_TAG,
            license=self.license,
            tags=_TAGS,
        )
        # Comments, for the Hub refuses what is not of its lists.
        missing = [] if self.license else ["# license: of this LoRA, such as apache-2.0"]
        missing += [] if ids else ["# base_model: the id of the base model on the Hub"]
        return "".join(f"{line}\n" for line in [*data.to_yaml().splitlines(), *missing])

    def _program(self) -> str:
        """Write the program that makes a video with diffusers alone."""
        settings, video, pipeline = (
            self.settings,
            self.settings.validation_data,
            self.network.pipeline,
        )
        base, adapter = json.dumps(settings.pretrained_model_path), settings.motion_adapter_path
        imports = [f"from diffusers import {pipeline}"]
        load = [f"pipeline = {pipeline}.from_pretrained({base})"]
        if adapter is not None:
            imports = [f"from diffusers import {pipeline}, MotionAdapter"]
            load = [
                f"adapter = MotionAdapter.from_pretrained({json.dumps(adapter)})",
                f"pipeline = {pipeline}.from_pretrained({base}, motion_adapter=adapter)",
            ]
        if self.network.lora_prefix:
            load.append("pipeline.load_lora_weights(pack)")
        else:  # diffusers loads no LoRA into this network by itself
            imports += [
                "from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict",
                "from safetensors.torch import load_file",
            ]
            rank = settings.lora_rank
            load += [
                f'weights = load_file(f"{{pack}}/{ADAPTER_FILE}")',
                'modules = sorted({name.partition(".lora_")[0] for name in weights})',
                f"lora = LoraConfig(r={rank}, lora_alpha={rank}, target_modules=modules)",
                "inject_adapter_in_model(lora, pipeline.unet)",
                "set_peft_model_state_dict(pipeline.unet, weights)",
            ]
        call = [
            "video = pipeline(",
            '    "…",',
            f"    num_frames={video.num_frames},",
            f"    height={video.height},",
            f"    width={video.width},",
            f"    num_inference_steps={video.num_inference_steps},",
            f"    guidance_scale={video.guidance_scale:g},",
            ").frames[0]",
        ]
        where = 'pack = "packs/PACK"  # this folder'
        return "\n".join([*imports, "", where, *load, *call]) + "\n"

    def _rows(self) -> list[list[str]]:
        settings, video = self.settings, self.settings.validation_data
        values = {
            "training": f"{self.step} steps, objective {settings.objective}",
            "prompt of the reference clip": settings.train_data.single_video_prompt,
            "LoRA": f"rank {settings.lora_rank}, on {', '.join(settings.lora_targets)}; scale "
            f"{video.lora_scale:g}, on from the first step down to `min_timestep` {settings.min_timestep}",
            "videos": f"{video.num_frames} frames of {video.width}x{video.height} pixels, "
            f"{settings.train_data.fps:g} fps",
            "sampling": f"{video.scheduler or 'the solver of the base'}, {video.num_inference_steps} steps, "
            f"guidance {video.guidance_scale:g}",
            "negative prompt": video.negative_prompt or "none",
            "noise prior": f"{video.noise_prior:g}",
            "seed of the sheet": f"{video.seed}",
        }
        return [[name, value] for name, value in values.items()]

    def _of_the_clip(self) -> str:
        lines = []
        if self.with_noise:
            lines.append(
                f"`{NOISE_FILE}` is the clip's noise by inversion, which is mixed into the start noise of "
                "videos. **The clip can be made of it again**: whoever has this file and the base model has, "
                "more or less, the clip."
            )
        elif self.noise_prior > 0:
            lines.append(
                "No inversion noise, of which the clip could be made again. The run was previewed with a "
                f"noise prior of {self.noise_prior:g}, which needs it; without it the motion can be weaker."
            )
        lines.append(
            "The first row of the contact sheet is the clip."
            if self.with_frames
            else "None of its frames."
        )
        return " ".join(lines)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a table of Markdown, the head first."""
    escaped = [[_one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
