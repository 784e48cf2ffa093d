"""Where the ImageReward checkpoint and BERT's vocabulary come from."""

import re
from pathlib import Path

from motionmatcher.errors import UserError

CHECKPOINT_FILE, VOCABULARY_FILE = "ImageReward.pt", "vocab.txt"
CHECKPOINT_HUB_ID, VOCABULARY_HUB_ID = "THUDM/ImageReward", "google-bert/bert-base-uncased"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_files(choice: str) -> tuple[Path, Path]:
    """Find the checkpoint and the vocabulary, without loading them.

    Args:
        choice: What `--imagereward_ckpt` says: a file with `vocab.txt` beside it, or a hub id.

    Returns:
        Paths of the checkpoint and of the vocabulary.

    Raises:
        UserError: One is missing; says where to get it.
    """
    checkpoint = Path(choice)
    if not checkpoint.is_file() and HUB_ID.fullmatch(choice) and checkpoint.suffix != ".pt":
        return _from_hub(choice, CHECKPOINT_FILE), _from_hub(VOCABULARY_HUB_ID, VOCABULARY_FILE)
    vocabulary = checkpoint.parent / VOCABULARY_FILE
    for path, hub_id, name in (
        (checkpoint, CHECKPOINT_HUB_ID, CHECKPOINT_FILE),
        (vocabulary, VOCABULARY_HUB_ID, VOCABULARY_FILE),
    ):
        if not path.is_file():
            raise UserError(
                f"{path}: there is no such file. Get it by `hf download {hub_id} {name} "
                f"--local-dir {checkpoint.parent}`, or name another by --imagereward_ckpt."
            )
    return checkpoint, vocabulary


def _from_hub(hub_id: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(hub_id, name))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"{name} of {hub_id} cannot be had from the hub ({str(error).splitlines()[0]})."
        ) from error
