"""Trains under `accelerate launch` and writes down what each process saw; run by test_training."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from launching import train_in_process

import motionmatcher.training.loop as training

seen: list[dict[str, Any]] = []
local_losses: list[float] = []
weights: list[torch.nn.Parameter] = []
original_loss, original_log = training.training_loss, Accelerator.log


def watched_loss(base: Any, *arguments: Any) -> Any:
    weights[:] = base.denoiser.lora_parameters().values()
    loss = original_loss(base, *arguments)
    local_losses.append(float(loss.total.detach()))
    return loss


def log(self: Accelerator, values: dict[str, float], step: int) -> None:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.detach().numpy().tobytes())
    seen.append(
        {"logged": values["loss"], "local": local_losses[-1], "weights": digest.hexdigest()}
    )
    original_log(self, values, step=step)


if __name__ == "__main__":
    training.training_loss = watched_loss
    Accelerator.log = log
    torch.set_num_threads(1)
    config, folder = map(Path, sys.argv[1:])
    train_in_process(config, "validation_data.sample_preview=false")
    rank = Accelerator().process_index
    (folder / f"process-{rank}.json").write_text(json.dumps(seen))
