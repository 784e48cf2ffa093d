"""Which of a run's clips: by its name, by its index, or drawn."""

from pathlib import Path

from motionmatcher.config.train_data import TrainData
from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.files import unique_names
from motionmatcher.random_streams import stream_seed

# The random stream, of a video's seed, that draws the clip whose inversion noise is mixed in.
NOISE_CLIP = "noise clip"


def clip_names(data: TrainData) -> list[str]:
    """Name each clip after its file, `name-2`, `name-3`, … where an earlier one has the name."""
    return unique_names(Path(clip.single_video_path).stem for clip in data.each)


def find_clip(data: TrainData, wanted: str | int, option: str) -> int:
    """Find the index of a clip.

    Args:
        data: Has the clips.
        wanted: The clip's name, or else its index from 0 on.
        option: What errors call it.

    Raises:
        UserError: There is no such clip; lists those there are.
    """
    names, text = clip_names(data), str(wanted)
    if text in names:
        return names.index(text)
    indices = [str(index) for index in range(len(names))]
    if text in indices:
        return indices.index(text)
    there_are = ", ".join(f"{index} {name}" for index, name in enumerate(names))
    raise UserError(
        f"{option} {text}: the run has no such clip; there are: {there_are}.{did_you_mean(text, names)}"
    )


def draw_clip(count: int, seed: int, stream: str, *place: int) -> int:
    """Draw the index of one of some clips, each as likely, on a random stream of its own.

    Args:
        count: Number of clips.
        seed: As of `stream_seed`, and so are the others.
        stream: What it is drawn for.
        place: Where it is drawn.
    """
    return stream_seed(seed, stream, *place) % count
