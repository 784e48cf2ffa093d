"""Trains in several processes and writes down what each one saw; run by test_loop.py."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from launching import train_in_process

from motionmatcher.objectives.feature_matching import FeatureMatching
from motionmatcher.objectives.objective import Batch, TrainingLoss


class WatchedMatching(FeatureMatching):
    """The method's objective; keeps the losses of this process."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def loss(self, batch: Batch) -> TrainingLoss:
        loss = super().loss(batch)
        self.losses.append(float(loss.total.detach()))
        return loss


def main() -> None:
    """Train with a config, and write `process-RANK.json` into a folder."""
    config, folder = map(Path, sys.argv[1:])
    objective = WatchedMatching()
    seen: list[dict[str, Any]] = []
    original_log = Accelerator.log

    def log(self: Accelerator, values: dict[str, float], step: int) -> None:
        digest = hashlib.sha256()
        for weight in objective.base.denoiser.lora_parameters().values():
            digest.update(weight.detach().numpy().tobytes())
        local = objective.losses[-1]
        seen.append({"logged": values["loss"], "local": local, "weights": digest.hexdigest()})
        original_log(self, values, step=step)

    Accelerator.log = log
    train_in_process(config, "validation_data.sample_preview=false", objective=objective)
    rank = Accelerator().process_index
    (folder / f"process-{rank}.json").write_text(json.dumps(seen))
