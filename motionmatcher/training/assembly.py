"""Assemble a training run from its settings: the one call behind train.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import (
    GradScalerKwargs,
    InitProcessGroupKwargs,
    broadcast_object_list,
)
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.lora import LoraInfo, add_lora, load_lora
from motionmatcher.clips.clip_choice import NOISE_CLIP, clip_names, draw_clip
from motionmatcher.clips.reference import Reference, inversion_noises, tensor_fingerprint
from motionmatcher.config.settings import TrainSettings
from motionmatcher.devices import compute_exactly, weight_dtype
from motionmatcher.diffusion.sampling import SamplingSettings
from motionmatcher.errors import UserError, reason_of
from motionmatcher.paths import find_path
from motionmatcher.reporting import note, say, warn
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checkpoints import START, Progress, load_training_state
from motionmatcher.training.checks import TrainingPlan
from motionmatcher.training.loop import prepare_optimizer, train
from motionmatcher.training.previews import Previewer

WAITING_TIME = timedelta(hours=6)


def make_accelerator(settings: TrainSettings, device: torch.device) -> Accelerator:
    """Set up device, processes and precision for accelerate."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    half = weight_dtype(settings.mixed_precision, device) != torch.float32
    precision = settings.mixed_precision if half else "no"
    if is_initialized():
        # An earlier run of this process, in a notebook say, had another precision or kind of device.
        found = AcceleratorState()
        moved = found.device.type != device.type
        if moved or found.mixed_precision != precision:
            AcceleratorState._reset_state(reset_partial_state=moved)
    return Accelerator(
        mixed_precision=precision,
        log_with=settings.logger_type,
        project_dir=settings.output_dir,
        cpu=device.type == "cpu",
        kwargs_handlers=[
            # The other processes wait while the first one inverts and previews.
            InitProcessGroupKwargs(timeout=WAITING_TIME),
            # Gradients are tiny, and a run is too short for the usual slow growth of the scale.
            GradScalerKwargs(init_scale=2.0**20, growth_interval=50),
        ],
    )


@dataclass(frozen=True)
class TrainedRun(Run):
    """A run folder, and what its training just gave.

    Attributes:
        finished: All steps were made; False when another of its processes was interrupted.
        values: What was logged of each step made now: "loss", its parts ("spatial_loss", …),
            "gradient_norm", "learning_rate".
    """

    finished: bool = True
    values: Sequence[Mapping[str, float]] = ()

    @property
    def losses(self) -> list[float]:
        """The loss of each step made now."""
        return [values["loss"] for values in self.values]


def start_training(plan: TrainingPlan, device: torch.device) -> TrainedRun:
    """Prepare and train.

    Args:
        plan: What `check_training` checked.
        device: Where to compute.

    Raises:
        UserError: Weights are damaged, a resumed run does not fit, or training failed.
    """
    settings, resume = plan.settings, plan.resume
    compute_exactly(device)
    accelerator = make_accelerator(settings, device)
    for line in plan.notes:
        note(line)
    dtype = weight_dtype(settings.mixed_precision, accelerator.device)
    if settings.mixed_precision == "fp16" and dtype == torch.float32:
        note("mixed_precision fp16 needs CUDA; this is computed in fp32.")
    base = load_base_model(
        plan.layout,
        accelerator.device,
        dtype,
        settings.rescale_schedule,
        settings.flow_shift,
        vae_tiling=settings.vae_tiling,
        prompts=_prompts(settings),
        text_states=resume[0].text_states if resume else None,
    )
    data, validation = settings.train_data, settings.validation_data
    previewed = (
        [*validation.prompt, validation.negative_prompt] if validation.sample_preview else []
    )
    for line in base.text.cut_off_notes([*data.prompts, *previewed]):
        note(line)
    run = resume[0] if resume else _create_shared_run(settings, accelerator)
    say(f"run folder: {run.folder}")
    if accelerator.is_main_process:
        run.remove_unfinished()
        if settings.cache_latents:
            base.text.write_states(run.text_states)
    with accelerator.main_process_first():  # the others read what it cached
        references = Reference.each_of_run(settings, base, run)
        size = data.n_sample_frames, data.width, data.height
        for reference in references:
            if resume is None:  # a resumed run goes on with what it has
                reference.check_clip_is_unchanged(*size)
            if settings.cached_latent_dir is not None and not reference.has_latents(*size):
                assert reference.clip is not None
                which = "this clip" if len(references) == 1 else reference.clip.path
                note(
                    f"cached_latent_dir {settings.cached_latent_dir} holds no latents of {which}, size, "
                    "base and seed, so they are made anew."
                )
        latents = torch.cat([reference.latents(*size) for reference in references])
        previewer = None
        if accelerator.is_main_process:
            previewer = _prepare_previews(settings, base, references, latents)
    text_states = torch.cat([base.text.encode([clip.single_video_prompt]) for clip in data.each])
    info = attach_lora(settings, base, latents, resume)
    optimizer = prepare_optimizer(settings, base, accelerator)
    progress = START
    if resume is not None:
        progress = _restore(resume, settings, optimizer, accelerator)

    # Set here, for the run folder is not known before all processes have met.
    accelerator.project_configuration.logging_dir = str(run.log_folder)
    # TensorBoard hides what was logged after the step that is resumed from.
    purge = {"tensorboard": {"purge_step": progress.step + 1}} if resume is not None else {}
    accelerator.init_trackers("motionmatcher", init_kwargs=purge)
    values: list[Mapping[str, float]] = []
    try:
        finished = train(
            run=run,
            settings=settings,
            base=base,
            latents=latents,
            text_states=text_states,
            info=info,
            accelerator=accelerator,
            optimizer=optimizer,
            objective=plan.objective,
            progress=progress,
            previewer=previewer,
            on_step=values.append,
        )
    finally:
        try:
            accelerator.end_training()
        except OSError as error:  # of the log, which training is worth more than
            note(f"the log in {run.log_folder} has gaps: {reason_of(error)}.")
    return TrainedRun(run.folder, finished, values)


def _restore(
    resume: tuple[Run, int],
    settings: TrainSettings,
    optimizer: AcceleratedOptimizer,
    accelerator: Accelerator,
) -> Progress:
    """Give the optimiser its state back, and let the run go on: only now is it known that all fits."""
    run, step = resume
    checkpoint = run.find_checkpoint(step)
    progress = load_training_state(checkpoint, optimizer.optimizer, accelerator.scaler)
    num_threads = torch.get_num_threads()
    if accelerator.device.type == "cpu" and progress.num_threads not in (None, num_threads):
        warn(
            f"{checkpoint} was computed with {progress.num_threads} threads and this process "
            f"has {num_threads}, which changes the last bits: OMP_NUM_THREADS={progress.num_threads} "
            "continues exactly."
        )
    accelerator.wait_for_everyone()  # all have read the checkpoint before anything is moved
    if accelerator.is_main_process:
        set_aside = run.continue_from(step, settings)
        if set_aside is not None:
            note(f"what the run made after step {step} before is set aside in {set_aside}.")
    return progress


def _create_shared_run(settings: TrainSettings, accelerator: Accelerator) -> Run:
    """Make the run folder, the same one for all processes."""
    runs: list[Any] = [None]
    if accelerator.is_main_process:
        runs = [Run.create(settings.output_dir, settings)]
    run: Run = broadcast_object_list(runs)[0]
    return run


def _prompts(settings: TrainSettings) -> list[str]:
    """List all prompts whose states a run needs, or inference by default."""
    sampling = SamplingSettings.of_run(settings)
    previewed = _previewed(settings) if settings.validation_data.sample_preview else []
    return [*settings.train_data.prompts, *previewed, *sampling.further_prompts]


def _previewed(settings: TrainSettings) -> list[str]:
    """List the prompts of the previews."""
    validation, own = settings.validation_data, settings.train_data.prompts
    prompts = list(validation.prompt) or own
    if validation.include_training_prompt:
        prompts = [*prompts, *(prompt for prompt in own if prompt not in prompts)]
    return prompts


def _prepare_previews(
    settings: TrainSettings, base: BaseModel, references: Sequence[Reference], latents: Tensor
) -> Previewer | None:
    validation = settings.validation_data
    sampling = SamplingSettings.of_run(settings)
    assert validation.seed is not None
    inversion_noise = None
    if sampling.noise_prior > 0:
        # Made in any case, and of every clip, so that inference finds it in the run.
        noises = inversion_noises(references, sampling)
        inversion_noise = noises[draw_clip(len(noises), validation.seed, NOISE_CLIP)]
    if not validation.sample_preview:
        return None
    prompts = _previewed(settings)
    names = clip_names(settings.train_data) if len(references) > 1 else []
    labels = [f"reference {name}" for name in names] or ["reference"]
    return Previewer(
        base=base,
        prompts=prompts,
        text_states=base.text.encode(prompts),
        negative_states=base.text.encode([sampling.negative_prompt]),
        seed=validation.seed,
        settings=sampling,
        inversion_noise=inversion_noise,
        references={
            label: base.codec.decode(clip) for label, clip in zip(labels, latents, strict=True)
        },
        fps=settings.train_data.fps,
    )


def attach_lora(
    settings: TrainSettings,
    base: BaseModel,
    latents: Tensor,
    resume: tuple[Run, int] | None = None,
) -> LoraInfo:
    """Give the base model the LoRA that is to be trained, new or from where it comes from.

    Args:
        settings: Its size, and what it starts from; also how the denoiser computes with it.
        base: The base model, without a LoRA.
        latents: Reference latents, one row a clip (clips, C, F, h, w).
        resume: The run and step to continue from; None starts anew.

    Returns:
        What the LoRA is, for its checkpoints.

    Raises:
        UserError: The LoRA to start from cannot be read or was trained with something else.
    """
    info = LoraInfo(
        rank=settings.lora_rank,
        targets=tuple(settings.lora_targets),
        base=base.fingerprint,
        reference=tensor_fingerprint(latents),
    )
    add_lora(
        base.denoiser,
        settings.lora_rank,
        settings.lora_targets,
        settings.lora_unet_dropout,
        settings.seed,
    )
    base_note = None
    if resume is not None:
        run, step = resume
        checkpoint = run.find_checkpoint(step)
        found = load_lora(base.denoiser, checkpoint / "lora")
        same_base = found.base in (base.fingerprint, base.sampled_fingerprint)
        for what, is_same in (
            ("base", same_base),
            ("reference", found.reference == info.reference),
        ):
            if not is_same:
                raise UserError(
                    f"{checkpoint} was trained with another {what}: resume with the run's own settings, "
                    "or start a new run from it with lora_path."
                )
        base_note = base.note_on_record(found.base, str(checkpoint))
    elif settings.lora_path is not None:
        folder = Path(find_path(settings.lora_path))
        found = load_lora(base.denoiser, folder / "lora" if (folder / "lora").is_dir() else folder)
        base_note = base.note_on_record(found.base, f"lora_path {folder}")
    if base_note:
        note(base_note)
    if settings.compile:
        base.denoiser.compile_layers()
    if settings.gradient_checkpointing != "none":
        base.denoiser.recompute_in_backward(settings.gradient_checkpointing)
    return info
