"""Folders of models: where a name leads, or what it downloads from the Hugging Face Hub."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from motionmatcher.bases.weights import choose_weight_files
from motionmatcher.errors import UserError
from motionmatcher.paths import find_path, require_folder

ZEROSCOPE_ID = "cerspense/zeroscope_v2_576w"
MOTION_ADAPTER_ID = "guoyww/animatediff-motion-adapter-v1-5-3"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_folder(
    name: str,
    kind: str,
    example: str,
    choose: Callable[[Sequence[str]], list[str]],
) -> Path:
    """Find a model's folder, downloading it when the name is none here but a hub id.

    Args:
        name: A folder in diffusers' layout, or a hub id.
        kind: What the folder should be, such as "base model folder".
        example: The hub id of one.
        choose: Of the files of a repository, those that are downloaded.

    Raises:
        UserError: It is not there; says how to get it.
    """
    folder = Path(find_path(name))
    if folder.is_dir():
        return folder
    if folder.is_symlink():  # to nothing, or in a loop
        require_folder(folder, kind)
    if not _is_hub_id(name):
        raise UserError(f"{name}: there is no such {kind}. {remedy(name, example)}")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        files = HfApi().list_repo_files(name)
    except (HfHubHTTPError, HFValidationError, OSError):
        files = None  # without a network, an earlier download does
    try:
        if files is None:
            return Path(snapshot_download(name, local_files_only=True))
        return Path(snapshot_download(name, allow_patterns=choose(files)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{name} is no folder here and could not be downloaded ({reason}). "
            f"{remedy(name, example)}"
        ) from error


def choose_weights(files: Iterable[str], part: str) -> list[str]:
    """Choose one form of a part's weights out of all that a repository offers.

    Args:
        files: Paths in the repository.
        part: A part's folder, such as "unet"; empty for the repository's own.

    Returns:
        The files in full precision, or those of the variant fp16 when there are no others;
        safetensors before older forms.
    """
    of_part = [Path(file) for file in files if file.rpartition("/")[0] == part]
    return [file.as_posix() for file in choose_weight_files(of_part)]


def remedy(name: str, example: str) -> str:
    """Say how to get a model whole, as far as its name tells which one it is.

    Args:
        name: Path or hub id as the user gave it.
        example: The hub id of such a model.
    """
    folder = Path(name)
    if folder.name == ZEROSCOPE_ID.split("/")[1] and not _is_hub_id(name):
        return f"Download it with: hf download {ZEROSCOPE_ID} --local-dir {name}"
    if _is_hub_id(name) and not folder.is_dir():
        return f"Download it with: hf download {name} --local-dir models/{folder.name}"
    if folder.is_dir():
        return "Copy it anew from where it comes from."
    return f"Give a folder in diffusers' layout, or the id of one on the Hub, such as {example}."


def hub_id_of(name: str) -> str | None:
    """Tell the hub id that a base's name is or stands for; None for a folder that only its owner knows.

    Args:
        name: Path or hub id.
    """
    if Path(name).name == ZEROSCOPE_ID.split("/")[1]:
        return ZEROSCOPE_ID
    return name if _is_hub_id(name) and not Path(find_path(name)).exists() else None


def _is_hub_id(name: str) -> bool:
    return _HUB_ID.fullmatch(name) is not None and not name.startswith(("models/", "./", "../"))
