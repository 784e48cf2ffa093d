"""The stages of the pretraining, in order: the only list of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed import gates
from testbed.autoencoder import autoencoder_state_path, train_autoencoder
from testbed.config import PretrainConfig
from testbed.denoiser import denoiser_state_path, stage_name, train_denoiser
from testbed.text import text_state_path, train_text


@dataclass(frozen=True)
class Stage:
    """One stage of the recipe.

    Attributes:
        part: What it trains: "autoencoder", "text" or "denoiser".
        name: Names its gate.
        title: Its name for people.
        state: File of its training state.
        num_steps: Steps of the whole stage.
        train: Goes on with the training until the stage is complete.
        measure: Measures the values of the gate.
    """

    part: str
    name: str
    title: str
    state: Path
    num_steps: int
    train: Callable[[], bool]
    measure: Callable[[], dict[str, float]]


def list_stages(config: PretrainConfig) -> list[Stage]:
    """List the stages in order."""
    stages = []
    if config.autoencoder is not None:
        stages.append(
            Stage(
                "autoencoder",
                "autoencoder",
                "autoencoder",
                autoencoder_state_path(config),
                config.autoencoder.num_steps,
                partial(train_autoencoder, config),
                partial(gates.measure_autoencoder, config),
            )
        )
    if config.text is not None:
        stages.append(
            Stage(
                "text",
                "text",
                "small CLIP",
                text_state_path(config),
                config.text.num_steps,
                partial(train_text, config),
                partial(gates.measure_text, config),
            )
        )
    stages += [
        Stage(
            "denoiser",
            f"denoiser-{index}",
            stage_name(config, index),
            denoiser_state_path(config, index),
            settings.num_steps,
            partial(train_denoiser, config, index),
            partial(gates.measure_denoiser, config, index),
        )
        for index, settings in enumerate(config.denoiser.stages)
    ]
    return stages


def gate_path(config: PretrainConfig, stage: str) -> Path:
    """Where the values of a stage's gate are."""
    return config.state_dir / f"gate-{stage}.json"
