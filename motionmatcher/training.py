"""Fine-tune a LoRA so that its predictions carry the reference's motion features (Sec. 3)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from tqdm import tqdm

from motionmatcher.base_model import BaseModel
from motionmatcher.checkpoints import load_training_state, save_checkpoint
from motionmatcher.errors import DivergedError
from motionmatcher.extractor import MotionExtractor
from motionmatcher.gradient_watch import GradientWatch
from motionmatcher.interruption import interruptible
from motionmatcher.lora import LoraInfo
from motionmatcher.objectives import draw_batch, training_loss
from motionmatcher.previews import Previewer
from motionmatcher.random_streams import stream_seed
from motionmatcher.runs import Run
from motionmatcher.settings import TrainSettings

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
    previewer: Previewer | None = None,
    resume_step: int | None = None,
) -> bool:
    """Train the LoRA that the base model carries.

    Args:
        run: Where checkpoints and previews go.
        settings: All settings of the run.
        base: The base model with its LoRA attached.
        latents: Reference latents (1, C, F, h, w).
        text_states: The reference's encoded prompt (1, T, D).
        info: What the LoRA is, for its checkpoints.
        accelerator: Device, processes, precision and accumulation.
        previewer: Makes previews every `validation_steps`; None makes none.
        resume_step: Continue from this checkpoint of the run.

    Returns:
        True when all steps were made, False when it was interrupted.

    Raises:
        DivergedError: The loss or its gradient is not finite; the last checkpoint stays.
    """
    parameters = base.unet.lora_parameters()
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    optimizer = accelerator.prepare_optimizer(make_optimizer(settings, list(parameters.values())))
    first_step = 0
    if resume_step is not None:
        checkpoint = run.find_checkpoint(resume_step)
        first_step = load_training_state(checkpoint, optimizer.optimizer, accelerator.scaler)
    learning_rate = make_learning_rate(settings, optimizer.optimizer, first_step)
    latent_size = latents.shape[-2], latents.shape[-1]
    extractor = MotionExtractor(base.unet, latent_size, settings.motion_extractor)
    watched_steps = min(WATCHED_STEPS, settings.max_train_steps - first_step)
    watch = GradientWatch(parameters, settings.adam_epsilon, watched_steps)
    skipped_updates = 0

    def save(step: int) -> None:
        if accelerator.is_main_process:
            save_checkpoint(
                run.checkpoint_folder(step),
                step,
                base.unet,
                info,
                optimizer.optimizer,
                accelerator.scaler,
            )
            run.drop_old_checkpoints(settings.checkpoints_total_limit, step)

    def preview(step: int) -> None:
        due = step % settings.validation_steps == 0 or step == settings.max_train_steps
        if previewer is not None and due and accelerator.is_main_process:
            previewer.write(run.samples_folder, step, interrupted)

    bar = tqdm(
        range(first_step, settings.max_train_steps),
        "training",
        initial=first_step,
        total=settings.max_train_steps,
        disable=not accelerator.is_main_process,
    )
    with interruptible() as interrupted, torch.random.fork_rng(_cuda_devices(base)):
        if previewer is not None and not previewer.sheet(run.samples_folder, first_step).exists():
            preview(first_step)  # of the base model; or one that an interruption left out
        for step in bar:
            base.unet.train()
            losses = []
            for micro_step in range(settings.gradient_accumulation_steps):
                place = (step, micro_step, accelerator.process_index)
                batch = draw_batch(settings, base, latents, *place)
                torch.manual_seed(stream_seed(settings.seed, "dropout", *place))
                loss = training_loss(base, extractor, latents, batch, text_states, settings)
                accelerator.backward(loss.total / settings.gradient_accumulation_steps)
                losses.append(torch.stack([loss.total, *loss.parts.values()]).detach())

            average_gradients(parameters, accelerator)
            if accelerator.scaler is not None:
                accelerator.unscale_gradients(optimizer)
            gradient_norm = norm_of_gradients(parameters)
            means = torch.stack(losses).mean(dim=0)
            total, *part_means, stop = accelerator.reduce(
                torch.cat([means, means.new_tensor([float(interrupted())])]), "mean"
            ).tolist()
            parts = dict(zip(loss.parts, part_means, strict=True))
            require_finite(total, "loss", step, run)
            if not math.isfinite(gradient_norm):
                # fp16's loss scaler finds its scale by overflowing now and then.
                skipped_updates += 1
                if accelerator.scaler is None or skipped_updates > MAX_SKIPPED_UPDATES:
                    require_finite(gradient_norm, "gradient", step, run)
            else:
                skipped_updates = 0
                for warning in watch.observe():
                    if accelerator.is_main_process:
                        bar.write(f"warning: {warning}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            figures = {
                "loss": total,
                **{f"{name}_loss": value for name, value in parts.items()},
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate.get_last_lr()[0],
            }
            learning_rate.step()

            done = step + 1
            accelerator.log(figures, step=done)
            shown = ", ".join(f"{name} {value:.2e}" for name, value in parts.items())
            bar.set_postfix_str(f"loss {total:.3e} ({shown})")
            last = stop > 0 or done == settings.max_train_steps
            if last or done % settings.checkpointing_steps == 0:
                save(done)
            if stop > 0:
                bar.close()
                accelerator.print(
                    f"interrupted after step {done}; continue with: train.py --resume {run.folder}"
                )
                return False
            preview(done)
    return True


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


def require_finite(value: float, what: str, step: int, run: Run) -> None:
    """Stop a run that has gone wrong.

    Raises:
        DivergedError: Names the step and what to try.
    """
    if not math.isfinite(value):
        raise DivergedError(
            f"the {what} is {value} at step {step + 1}, so training stopped; checkpoints so far are kept "
            f"in {run.folder}. Try a lower learning_rate, mixed_precision bf16 or no, or lower loss_weights."
        )


def _cuda_devices(base: BaseModel) -> list[torch.device]:
    return [base.device] if base.device.type == "cuda" else []
