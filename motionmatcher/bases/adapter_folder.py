"""Where the motion adapter of a Stable Diffusion lies, and what both are together by their configs."""

from collections.abc import Sequence
from typing import Any

from motionmatcher.bases.config_file import BaseConfig, BaseFolder
from motionmatcher.bases.hub import MOTION_ADAPTER_ID, choose_weights, find_folder, remedy
from motionmatcher.bases.parts import (
    ADAPTED,
    DENOISER,
    MOTION_ADAPTER,
    SCHEDULE,
    Part,
    PartKind,
)
from motionmatcher.errors import UserError


def find_motion_adapter(
    name: str | None, configs: dict[PartKind, BaseConfig], configs_only: bool
) -> Part[Any] | None:
    """Find the motion adapter, and make of the base's configs those of what both are together.

    Args:
        name: Folder or hub id of the adapter; None when there is none.
        configs: The base's; those of denoiser and schedule are replaced.
        configs_only: Download no weights.

    Raises:
        UserError: There is no such adapter, or it and the base do not go together.
    """
    denoiser = configs[DENOISER]
    is_adapted = denoiser.content.get(DENOISER.key) == ADAPTED
    if name is None:
        if is_adapted:
            raise UserError(
                f"{denoiser.file} is of Stable Diffusion, which makes single frames: set "
                "motion_adapter_path (--motion_adapter of inference.py) to a motion adapter, a folder or "
                f"hub id such as {MOTION_ADAPTER_ID}."
            )
        return None
    if not is_adapted:
        raise UserError(
            f"motion_adapter_path {name} goes with Stable Diffusion only ({DENOISER.key} {ADAPTED}), and "
            f"{denoiser.file} is of another base: leave it out."
        )
    kind = MOTION_ADAPTER

    def choose(files: Sequence[str]) -> list[str]:
        return [kind.config_name, *([] if configs_only else choose_weights(files, ""))]

    folder = find_folder(name, "motion adapter folder", MOTION_ADAPTER_ID, choose)
    config = BaseFolder(name, folder, remedy(name, MOTION_ADAPTER_ID)).read(kind.config_name)
    adapter_class = kind.find_class(config.choice(kind.key, kind.classes), config.content)
    adapter_class.check_config(config)
    configs[DENOISER] = denoiser.replaced(adapter_class.join_configs(denoiser, config))
    schedule = configs[SCHEDULE]
    configs[SCHEDULE] = schedule.replaced({**schedule.content, **adapter_class.schedule_changes})
    return Part(kind, kind.folders[0], config.content, adapter_class, folder)
