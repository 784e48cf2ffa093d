"""Trains under `accelerate launch` and writes down what each process saw; run by test_training."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from launching import train_in_process

from motionmatcher.objectives.feature_matching import FeatureMatching
from motionmatcher.objectives.objective import Batch, TrainingLoss

seen: list[dict[str, Any]] = []
original_log = Accelerator.log


class WatchedMatching(FeatureMatching):
    """The method's objective; keeps the losses of this process."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def loss(self, batch: Batch) -> TrainingLoss:
        loss = super().loss(batch)
        self.losses.append(float(loss.total.detach()))
        return loss


def log(self: Accelerator, values: dict[str, float], step: int) -> None:
    digest = hashlib.sha256()
    for weight in objective.base.denoiser.lora_parameters().values():
        digest.update(weight.detach().numpy().tobytes())
    local = objective.losses[-1]
    seen.append({"logged": values["loss"], "local": local, "weights": digest.hexdigest()})
    original_log(self, values, step=step)


if __name__ == "__main__":
    objective = WatchedMatching()
    Accelerator.log = log
    torch.set_num_threads(1)
    config, folder = map(Path, sys.argv[1:])
    train_in_process(config, "validation_data.sample_preview=false", objective=objective)
    rank = Accelerator().process_index
    (folder / f"process-{rank}.json").write_text(json.dumps(seen))
