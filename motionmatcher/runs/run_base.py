"""The base model of a run: where it is, and loaded as the run's settings have it."""

from collections.abc import Sequence

import torch

from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.config.settings import TrainSettings
from motionmatcher.devices import weight_dtype
from motionmatcher.runs.run_folder import Run


def find_run_base(run: Run, settings: TrainSettings, configs_only: bool = False) -> BaseLayout:
    """Find the base model that a run was trained on.

    Args:
        run: The run.
        settings: The run's.
        configs_only: Its weights are not needed.

    Raises:
        UserError: It is not there, or cannot be used.
    """
    adapter = settings.motion_adapter_path
    return find_base(
        run.find_path(settings.pretrained_model_path),
        configs_only=configs_only,
        motion_adapter=None if adapter is None else run.find_path(adapter),
    )


def load_run_base(
    run: Run,
    settings: TrainSettings,
    layout: BaseLayout,
    device: torch.device,
    prompts: Sequence[str],
) -> BaseModel:
    """Load the base model that a run was trained on, in the run's precision.

    Args:
        run: The run.
        settings: The run's.
        layout: The base model, of `find_run_base`.
        device: Where it computes.
        prompts: All that it shall encode.

    Raises:
        UserError: Weights are damaged.
    """
    return load_base_model(
        layout,
        device,
        weight_dtype(settings.mixed_precision, device),
        settings.rescale_schedule,
        settings.flow_shift,
        vae_tiling=settings.vae_tiling,
        prompts=prompts,
        text_states=run.text_states,
    )
