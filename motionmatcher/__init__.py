"""Motion transfer from one reference clip for text-to-video diffusion models.

The Python API; each name is imported when it is used, for some need torch:

    from motionmatcher import generate, load_settings, train

    run = train(load_settings("configs/demo.yaml"))
    videos = generate(run, ["A green triangle moves."], repeat_num=1)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionmatcher.api import (
        generate,
        open_pack,
        open_run,
        resume,
        train,
        write_maps,
        write_pack,
    )
    from motionmatcher.config.loading import load_settings
    from motionmatcher.objectives.objective import Objective, TrainingLoss
    from motionmatcher.objectives.registry import register_objective
    from motionmatcher.reporting import quiet

__version__ = "0.2.0"

__all__ = [
    "Objective",
    "TrainingLoss",
    "generate",
    "load_settings",
    "open_pack",
    "open_run",
    "quiet",
    "register_objective",
    "resume",
    "train",
    "write_maps",
    "write_pack",
]
_HOMES = {
    "Objective": "objectives.objective",
    "TrainingLoss": "objectives.objective",
    "generate": "api",
    "load_settings": "config.loading",
    "open_pack": "api",
    "open_run": "api",
    "quiet": "reporting",
    "register_objective": "objectives.registry",
    "resume": "api",
    "train": "api",
    "write_maps": "api",
    "write_pack": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from motionmatcher.environment import settle_environment

    settle_environment()
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
