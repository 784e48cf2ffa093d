"""Check what maps shall be drawn of, before any weight is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from motionmatcher.bases.layout import BaseLayout
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.files import check_writable
from motionmatcher.maps.words import Word, choose_words, find_words
from motionmatcher.options import given_options
from motionmatcher.runs.run_base import find_run_base
from motionmatcher.runs.run_folder import Run, open_checkpoint

FOLDER_NAME = "maps"
RESULTS_NAME = "maps.json"


class MapOptions(TypedDict, total=False):
    """What may be asked of maps; left out or None is the default.

    Attributes:
        words: Words of the reference's prompt, or several in a row, a row of pictures each, or one of them;
            by default those whose maps vary most.
        timesteps: Where the reference is noised to, as `min_timestep` counts, one or several; by default the
            lowest and the middle one of those trained at.
    """

    words: Sequence[str] | str | None
    timesteps: Sequence[int] | int | None


@dataclass(frozen=True)
class MapPlan:
    """What maps are drawn of, checked before any weight is read.

    Attributes:
        run: The run.
        settings: The run's.
        layout: The base model.
        timesteps: Where the reference is noised to, as `min_timestep` counts, ascending.
        words: All words of the prompt, or those asked for.
        asked: Whether they were asked for, and so are all drawn.
    """

    run: Run
    settings: TrainSettings
    layout: BaseLayout
    timesteps: Sequence[int]
    words: Sequence[Word]
    asked: bool

    @property
    def folder(self) -> Path:
        """Where the maps go."""
        return self.run.folder / FOLDER_NAME


def plan_maps(
    run: Path | str, names: Mapping[str, str] | None = None, **options: Unpack[MapOptions]
) -> MapPlan:
    """Check what maps shall be drawn of.

    Args:
        run: A run folder or one of its checkpoints.
        names: What errors call the options; by default as they are called here.
        options: See `MapOptions`.

    Raises:
        UserError: It is no run of ours, its base is not there, or an option does not fit.
    """

    def name(option: str) -> str:
        return (names or {}).get(option, option)

    given = given_options(options, MapOptions)
    given |= {key: [value] for key, value in given.items() if isinstance(value, str | int | float)}
    opened = open_checkpoint(run)[0]
    settings = opened.settings()
    if settings is None:
        raise UserError(
            f"{opened.folder} has no config.yaml, as published runs have none, so nobody knows its prompt "
            "and layers: maps are drawn of runs of this toolkit."
        )
    folder = opened.folder / FOLDER_NAME
    if folder.exists() and not (folder / RESULTS_NAME).is_file():
        raise UserError(f"{folder} holds something else than maps: move it away.")
    check_writable(folder, "the folder")
    layout = find_run_base(opened, settings)
    layout.require_weights()
    check_layers(settings, layout)
    data = settings.train_data.first
    text = layout.text.part_class
    tokenizer = text.read_tokenizer(layout.folder / "tokenizer", layout.num_tokens)
    if "words" in given:
        try:
            words = choose_words(given["words"], text, tokenizer, data.single_video_prompt)
        except UserError as error:
            raise UserError(f"{name('words')}: {error}") from error
    else:
        words = find_words(text, tokenizer, data.single_video_prompt)
    return MapPlan(
        run=opened,
        settings=settings,
        layout=layout,
        timesteps=_choose_timesteps(settings, layout, given.get("timesteps"), name("timesteps")),
        words=words,
        asked="words" in given,
    )


def check_layers(settings: TrainSettings, layout: BaseLayout) -> None:
    """Check that a base has the layers whose maps are drawn, whatever the run's objective is.

    Raises:
        UserError: `motion_extractor` asks for others.
    """
    data, network = settings.train_data, layout.denoiser
    *_, height, width = layout.latent_shape(data.n_sample_frames, data.width, data.height)
    network.part_class.choose_layers(network.config, (height, width), settings.motion_extractor)


def _choose_timesteps(
    settings: TrainSettings, layout: BaseLayout, asked: Sequence[int] | None, name: str
) -> list[int]:
    schedule = layout.read_schedule(settings.rescale_schedule, settings.flow_shift)
    last = schedule.num_train_timesteps - 1
    step = settings.motion_extractor.num_denoise_steps
    first = next(place for place in range(last + 1) if schedule.timestep_at(float(place)) >= step)
    if not asked:
        lowest = max(settings.min_timestep, first)
        return sorted({lowest, (lowest + last) // 2})
    for timestep in asked:
        if not isinstance(timestep, int) or not first <= timestep <= last:
            raise UserError(f"{name} {timestep}: expected whole numbers from {first} to {last}.")
    return sorted(set(asked))
