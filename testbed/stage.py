"""A stage of the pretraining: step, average, checkpoint, resume.

Nothing random is carried from step to step: whatever a step draws is named by its number, so a
resumed run equals an unbroken one to the bit.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from motionmatcher.interruption import interruptible
from motionmatcher.tensor_files import save_tensors


def cosine_schedule(step: int, num_steps: int, warmup: int, final: float = 0.02) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class StageState:
    """What a stage trains, and how far it is.

    Args:
        model: The module in training; its buffers are saved too.
        optimizer: Its optimiser.
        ema_decay: Decay of the average of the weights.
        step: Steps done.
        seconds: Wall time they took, over all sessions.
        ema: The averaged state dict; made from the model when None.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema_decay: float
    step: int = 0
    seconds: float = 0.0
    ema: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.ema is None:
            self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    @torch.no_grad()
    def update_ema(self) -> None:
        """Average the weights; young averages forget faster."""
        assert self.ema is not None
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def save(self, path: Path, log: list[dict[str, float]]) -> None:
        """Write everything a later run needs to go on, atomically."""
        assert self.ema is not None
        tensors = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v.contiguous() for k, v in self.ema.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v.contiguous() for k, v in values.items()}
        write_state(path, tensors, self.step, self.seconds, log)

    def load(self, path: Path) -> list[dict[str, float]]:
        """Go back to a saved state, which may be kept in half precision; returns its log."""
        tensors, meta = read_state(path)
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        self.model.load_state_dict(_below(tensors, "model."))
        self.ema = _below(tensors, "ema.")
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimizer.").items():
            index, key = name.split(".")
            states.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        log: list[dict[str, float]] = json.loads(meta["log"])
        return log


def write_state(
    path: Path,
    tensors: Mapping[str, Tensor],
    step: int,
    seconds: float,
    log: list[dict[str, float]],
) -> None:
    """Write a state, atomically.

    Args:
        path: The file.
        tensors: Their names begin with "model.", "ema." and "optimizer.".
        step: Steps done.
        seconds: Wall time they took.
        log: What was printed of the steps.
    """
    meta = {"step": str(step), "seconds": str(seconds), "log": json.dumps(log)}
    # safetensors refuses shared storage
    save_tensors(path, {k: v.clone() for k, v in tensors.items()}, meta)


def read_state(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Read the tensors and the text of a saved state."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def steps_done(path: Path) -> int:
    """Tell how many steps a saved state has done; 0 when there is none."""
    return int(_read_meta(path)["step"]) if path.is_file() else 0


def hours_spent(path: Path) -> float:
    """Tell how much wall time a saved state took; 0 when there is none."""
    return float(_read_meta(path)["seconds"]) / 3600 if path.is_file() else 0.0


def _read_meta(path: Path) -> Mapping[str, str]:
    with safe_open(path, framework="pt") as file:
        meta: Mapping[str, str] = file.metadata()
        return meta


def read_averaged_weights(path: Path) -> tuple[dict[str, Tensor], int]:
    """Read the averaged weights of a saved state, and its step."""
    tensors, meta = read_state(path)
    return _below(tensors, "ema."), int(meta["step"])


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def run_stage(
    name: str,
    state: StageState,
    num_steps: int,
    compute_loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    schedule: Callable[[int], float],
    checkpoint: Path,
    checkpoint_minutes: float,
    stop_after: int | None = None,
    max_gradient_norm: float = 1.0,
) -> bool:
    """Train until the stage is complete.

    Args:
        name: Shown on the progress bar.
        state: What to train; gone on with from `checkpoint` when that exists.
        num_steps: Steps of the whole stage.
        compute_loss: Takes the number of the step; returns its loss and values to log.
        schedule: Factor of the learning rates at a step.
        checkpoint: The state's file.
        checkpoint_minutes: Time between two writes of it.
        stop_after: Step to stop at although the stage is not complete.
        max_gradient_norm: Gradients are scaled down to this norm.

    Returns:
        True when the stage is complete.

    Raises:
        KeyboardInterrupt: The process was told to stop, by Ctrl-C or, as `Terminated`, by SIGTERM; the
            state is written.
    """
    from tqdm import tqdm

    log = state.load(checkpoint) if checkpoint.is_file() else []
    base_rates = [group["lr"] for group in state.optimizer.param_groups]
    last_step = num_steps if stop_after is None else min(num_steps, stop_after)
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    sums, count = dict[str, float](), 0
    last_write = clock = time.monotonic()
    with (
        interruptible() as interrupted,
        tqdm(total=num_steps, initial=state.step, desc=name, mininterval=15) as progress,
    ):
        while state.step < last_step and not interrupted():
            for group, rate in zip(state.optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * schedule(state.step)
            loss, values = compute_loss(state.step)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
            if not math.isfinite(float(norm)):  # the last written state is still good
                raise FloatingPointError(f"{name}, step {state.step}: the gradient is not finite")
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.update_ema()
            values = {"loss": float(loss.detach()), "gradient_norm": float(norm)} | values
            sums, count = {k: sums.get(k, 0.0) + v for k, v in values.items()}, count + 1
            if state.step % 50 == 0 or state.step == last_step:
                means = {k: v / count for k, v in sums.items()}
                log.append({"step": state.step} | means)
                progress.set_postfix({k: f"{v:.4g}" for k, v in means.items()}, refresh=False)
                sums, count = {}, 0
            progress.update()
            state.seconds += time.monotonic() - clock
            clock = time.monotonic()
            if clock - last_write > 60 * checkpoint_minutes:
                state.save(checkpoint, log)
                last_write = clock
        for group, rate in zip(state.optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate
        state.save(checkpoint, log)
    return state.step >= num_steps
