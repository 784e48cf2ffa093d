"""Fine-tune a LoRA so that its predictions carry the reference's motion features (Sec. 3)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.lora import LoraInfo
from motionmatcher.clips.clip_choice import draw_clip
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import DivergedError, NotFiniteError, WriteError, reason_of
from motionmatcher.finiteness import is_finite
from motionmatcher.interruption import interruptible
from motionmatcher.objectives.objective import Objective
from motionmatcher.objectives.registry import make_objective
from motionmatcher.random_streams import stream_seed
from motionmatcher.reporting import note, progress_bar, say, warn
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checkpoints import START, Progress, save_checkpoint
from motionmatcher.training.gradient_watch import GradientWatch
from motionmatcher.training.previews import Previewer

# Updates in a row that fp16's loss scaler may skip before they count as a failure.
MAX_SKIPPED_UPDATES = 20
# Updates after which a LoRA that got no gradient is reported.
WATCHED_STEPS = 5


def train(
    *,
    run: Run,
    settings: TrainSettings,
    base: BaseModel,
    latents: Tensor,
    text_states: Tensor,
    info: LoraInfo,
    accelerator: Accelerator,
    optimizer: AcceleratedOptimizer,
    objective: Objective | None = None,
    progress: Progress = START,
    previewer: Previewer | None = None,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> bool:
    """Train the LoRA that the base model carries.

    Args:
        run: Where checkpoints and previews go.
        settings: All settings of the run.
        base: The base model with its LoRA attached.
        latents: Reference latents, one row a clip (clips, C, F, h, w).
        text_states: The clips' encoded prompts (clips, T, D).
        info: What the LoRA is, for its checkpoints.
        accelerator: Device, processes, precision and accumulation.
        optimizer: Of the LoRA's parameters, of `prepare_optimizer`.
        objective: What is minimised; None takes the one that the settings name.
        progress: Where to go on from; the LoRA and the optimiser are at that step.
        previewer: Makes previews every `validation_steps`; None makes none.
        on_step: Called after each step with what is logged of it: the loss, its parts, ….

    Returns:
        True when all steps were made, False when another of its processes was interrupted.

    Raises:
        KeyboardInterrupt: This process was; a checkpoint is saved.
        DivergedError: Loss, gradient or weights are not finite; the last checkpoint stays.
        NotFiniteError: A preview is not; the steps up to it are kept.
    """
    parameters = base.denoiser.lora_parameters()
    first_step = progress.step
    learning_rate = make_learning_rate(settings, optimizer.optimizer, first_step)
    latent_size = latents.shape[-2], latents.shape[-1]
    objective = objective or make_objective(settings.objective)
    objective.prepare(base, settings, latent_size)
    watched_steps = min(WATCHED_STEPS, settings.max_train_steps - first_step)
    watch = GradientWatch(parameters, settings.adam_epsilon, watched_steps)
    skipped_updates, skipped_in_a_row = progress.skipped_updates, 0
    logging = True

    def save(step: int) -> None:
        wrong = [name for name, weight in parameters.items() if not is_finite(weight)]
        if wrong:
            raise _diverged(f"the LoRA's weights ({wrong[0]}, …) are not finite", step, run)
        if accelerator.is_main_process:
            save_checkpoint(
                run.checkpoint_folder(step),
                step,
                base.denoiser,
                info,
                optimizer.optimizer,
                accelerator.scaler,
                skipped_updates,
            )
            run.drop_old_checkpoints(settings.checkpoints_total_limit, step)

    def preview(step: int) -> None:
        due = step % settings.validation_steps == 0 or step == settings.max_train_steps
        if previewer is not None and due and accelerator.is_main_process:
            try:
                previewer.write(run.samples_folder, step, interrupted)
            except WriteError as error:  # training is worth more than its previews
                note(f"no preview of step {step}: {error}")

    def log(metrics: Mapping[str, float], step: int) -> None:
        nonlocal logging
        try:
            accelerator.log(metrics, step=step)
        except OSError as error:  # likewise
            if logging:
                note(f"the log in {run.log_folder} has gaps: {reason_of(error)}.")
            logging = False

    bar = progress_bar(
        range(first_step, settings.max_train_steps),
        "training",
        initial=first_step,
        total=settings.max_train_steps,
    )
    with interruptible() as interrupted, torch.random.fork_rng(_cuda_devices(base)):
        if previewer is not None and not previewer.sheet(run.samples_folder, first_step).exists():
            preview(first_step)  # of the base model; or one that an interruption left out
        for step in bar:
            if not base.denoiser.training:  # a preview, or an objective, may have put it to rest
                base.denoiser.train()
            losses = []
            # One update: the mean gradient of several batches, here and in all processes.
            for micro_step in range(settings.gradient_accumulation_steps):
                place = (step, micro_step, accelerator.process_index)
                # Clip, noise eps and timesteps t, named by their place: a resumed run draws them alike.
                clip = draw_clip(len(latents), settings.seed, "clip", *place)
                row = slice(clip, clip + 1)
                drawn = objective.draw(latents[row], text_states[row], *place)
                batch = replace(drawn, clip=clip)
                torch.manual_seed(stream_seed(settings.seed, "dropout", *place))
                loss = objective.loss(batch)
                accelerator.backward(loss.total / settings.gradient_accumulation_steps)
                losses.append(torch.stack([loss.total, *loss.parts.values()]).detach())

            average_gradients(parameters, accelerator)
            if accelerator.scaler is not None:
                accelerator.unscale_gradients(optimizer)
            gradient_norm = norm_of_gradients(parameters)
            means = torch.stack(losses).mean(dim=0)  # (1 + parts,)
            # With the losses goes whether any process was interrupted, so that all stop at this step.
            total, *part_means, stop = accelerator.reduce(
                torch.cat([means, means.new_tensor([float(interrupted())])]), "mean"
            ).tolist()
            parts = dict(zip(loss.parts, part_means, strict=True))
            # Before the first update a new LoRA changes nothing, whatever the learning rate.
            num_updates = step - skipped_updates if settings.lora_path is None else None
            if not math.isfinite(total):
                raise _diverged(f"the loss is {total}", step + 1, run, num_updates)
            if not math.isfinite(gradient_norm):
                # fp16's loss scaler finds its scale by overflowing now and then.
                if accelerator.scaler is None:
                    raise _diverged(f"the gradient is {gradient_norm}", step + 1, run, num_updates)
                skipped_updates, skipped_in_a_row = skipped_updates + 1, skipped_in_a_row + 1
                if skipped_in_a_row > MAX_SKIPPED_UPDATES:
                    what = f"fp16 overflowed in {skipped_in_a_row} steps in a row"
                    raise _diverged(what, step + 1, run, num_updates=0)
            else:
                skipped_in_a_row = 0
                for warning in watch.observe():
                    warn(warning)
            optimizer.step()  # AdamW; skipped by the loss scaler where fp16 overflowed
            optimizer.zero_grad(set_to_none=True)
            metrics = {
                "loss": total,
                **{f"{name}_loss": value for name, value in parts.items()},
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate.get_last_lr()[0],
            }
            learning_rate.step()

            done = step + 1
            log(metrics, done)
            if on_step is not None:
                on_step(metrics)
            shown = ", ".join(f"{name} {value:.2e}" for name, value in parts.items())
            overflows = f", {skipped_updates} updates skipped (fp16)" if skipped_updates else ""
            bar.set_postfix_str(f"loss {total:.3e} ({shown}){overflows}")
            last = stop > 0 or done == settings.max_train_steps
            is_saved = last or done % settings.checkpointing_steps == 0
            if is_saved:
                save(done)
            if stop > 0:
                bar.close()
                say(f"interrupted after step {done}; continue with: train.py --resume {run.folder}")
                return False
            try:
                preview(done)
            except NotFiniteError:
                if not is_saved:
                    save(done)
                raise
    if skipped_updates:
        note(
            f"{skipped_updates} of {settings.max_train_steps} updates were skipped, for fp16 "
            "overflowed; its loss scale was lowered each time."
        )
    return True


def prepare_optimizer(
    settings: TrainSettings, base: BaseModel, accelerator: Accelerator
) -> AcceleratedOptimizer:
    """Make the LoRA's parameters trainable and give them an optimiser.

    Args:
        settings: Of the optimiser.
        base: The base model with its LoRA attached.
        accelerator: Scales fp16's loss and steps accordingly.
    """
    parameters = list(base.denoiser.lora_parameters().values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    return accelerator.prepare_optimizer(make_optimizer(settings, parameters))


def make_optimizer(
    settings: TrainSettings, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer:
    """Make AdamW over the LoRA's parameters, or its 8-bit version."""
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW
    options: dict[str, Any] = {}
    if settings.use_8bit_adam:
        from bitsandbytes.optim import AdamW8bit

        optimizer_class = AdamW8bit
    elif parameters[0].device.type == "cpu":
        options["fused"] = True  # torch's default there takes one small operation after the other
    return optimizer_class(
        parameters,
        lr=settings.learning_rate,  # type: ignore[call-arg]
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon,
        **options,
    )


def make_learning_rate(
    settings: TrainSettings, optimizer: torch.optim.Optimizer, first_step: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Make the learning rate schedule, as it stands after `first_step` updates."""
    for group in optimizer.param_groups:
        group["initial_lr"] = settings.learning_rate
    return get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.max_train_steps,
        last_epoch=first_step - 1,
    )


def average_gradients(parameters: Mapping[str, nn.Parameter], accelerator: Accelerator) -> None:
    """Average the gradients over all processes, in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters.values()]
    mean = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    parts = mean.split([gradient.numel() for gradient in gradients])
    for parameter, part in zip(parameters.values(), parts, strict=True):
        parameter.grad = part.view_as(parameter)


def norm_of_gradients(parameters: Mapping[str, nn.Parameter]) -> float:
    """Euclidean norm of all gradients together."""
    gradients = [p.grad for p in parameters.values() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


def _diverged(what: str, step: int, run: Run, num_updates: int | None = None) -> DivergedError:
    """Say that a run has gone wrong, and what to try; 0 updates have no bad learning rate to blame."""
    learning_rate = "a lower learning_rate, " if num_updates != 0 else ""
    return DivergedError(
        f"{what} at step {step}, so training stopped; checkpoints so far are kept in {run.folder}. "
        f"Try {learning_rate}mixed_precision bf16 or no, or lower loss_weights."
    )


def _cuda_devices(base: BaseModel) -> list[torch.device]:
    return [base.device] if base.device.type == "cuda" else []
