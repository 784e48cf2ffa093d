"""Check what a motion pack shall hold, before any weight is read."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from motionmatcher.bases.hub import ZEROSCOPE_ID, hub_id_of
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.bases.lora import ADAPTER_FILE
from motionmatcher.clips.reference import ReferenceClip
from motionmatcher.clips.video import Frames, fit_frames, read_clip
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.files import check_writable
from motionmatcher.options import given_options
from motionmatcher.packing.card import Card
from motionmatcher.packing.scores import read_scores
from motionmatcher.runs.choice import choice_file, read_choice
from motionmatcher.runs.pack_folder import PACK_FILE
from motionmatcher.runs.run_base import find_run_base
from motionmatcher.runs.run_folder import Run, open_checkpoint

# As the Hub writes its identifiers of licences.
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class PackOptions(TypedDict, total=False):
    """What may be asked of a pack; left out or None is the default.

    Attributes:
        checkpoint: Step of the checkpoint; by default what `choice.json` says, or else the last.
        output_dir: The pack's folder; by default `pack-STEP` in the run.
        overwrite: Replace a pack that is there.
        prompts: What the contact sheet shows; by default the run's previews, less the clip's own prompt.
        contact_sheet: Show videos that the pack makes, which takes the base model; else it has none.
        inversion_noise: Hold the clip's inversion noise. The clip can be made of it again.
        preview: Show the clip's frames in the contact sheet.
        base_model: Hub id of the base model, where the run names a folder.
        license: The LoRA's licence, as the Hub writes it, such as "apache-2.0".
        clip_license: What the card says of the clip's source and licence.
        scores: JSON of the scoring commands, for the card.
    """

    checkpoint: int | None
    output_dir: Path | str | None
    overwrite: bool | None
    prompts: Sequence[str] | None
    contact_sheet: bool | None
    inversion_noise: bool | None
    preview: bool | None
    base_model: str | None
    license: str | None
    clip_license: str | None
    scores: Path | str | None


@dataclass(frozen=True, kw_only=True)
class PackPlan:
    """What shall be packed, checked before any weight is read.

    Attributes:
        run: The run.
        step: Step of the checkpoint.
        settings: The run's.
        layout: The base model.
        shared: The run's settings as the pack holds them.
        folder: The pack's.
        prompts: What the contact sheet shows; none for no sheet.
        inversion_noise: Hold the clip's inversion noise.
        clip_frames: For the contact sheet; None to show none.
        card: The model card.
        notes: Things the user should know, one line each.
    """

    run: Run
    step: int
    settings: TrainSettings
    layout: BaseLayout
    shared: TrainSettings
    folder: Path
    prompts: Sequence[str]
    inversion_noise: bool
    clip_frames: Frames | None
    card: Card
    notes: Sequence[str]


def plan_pack(
    run: Path | str, names: Mapping[str, str] | None = None, **options: Unpack[PackOptions]
) -> PackPlan:
    """Check what shall be packed.

    Args:
        run: A run folder or one of its checkpoints.
        names: What errors call the options; by default as they are called here.
        options: See `PackOptions`.

    Raises:
        UserError: Names the option, file or folder that does not fit.
    """

    def name(option: str) -> str:
        return (names or {}).get(option, option)

    given = given_options(options, PackOptions)
    opened, step, settings, notes = _open(run, given, name)
    folder = Path(given.get("output_dir") or opened.folder / f"pack-{step}")
    if folder.name in ("", ".."):  # its neighbours are written too, by its name
        folder = folder.resolve()
    _check_folder(folder, bool(given.get("overwrite")), name)
    licence = given.get("license")
    if licence is not None and not _LICENSE.fullmatch(licence):
        raise UserError(
            f"{name('license')} '{licence}' is no identifier of the Hub: expected one such as apache-2.0, "
            "cc-by-nc-4.0 or other."
        )
    base_model = given.get("base_model")
    if base_model is not None and hub_id_of(base_model) is None:
        raise UserError(
            f"{name('base_model')} '{base_model}' is no hub id: expected one such as {ZEROSCOPE_ID}."
        )
    scores = read_scores(Path(given["scores"])) if "scores" in given else None
    with_noise = bool(given.get("inversion_noise"))
    if given.get("preview") and not given.get("contact_sheet", True):
        raise UserError(
            f"{name('preview')} is for the contact sheet, which {name('contact_sheet')} leaves out: drop "
            "one of them."
        )
    prompts = _choose_prompts(settings, given, name)
    layout = find_run_base(opened, settings, configs_only=not (prompts or with_noise))
    if prompts or with_noise:
        layout.require_weights()
    shared, further = _as_shared(settings, base_model, with_noise, name)
    notes += further
    notes += [] if licence else [f"the card names no licence: give {name('license')}."]
    return PackPlan(
        run=opened,
        step=step,
        settings=settings,
        layout=layout,
        shared=shared,
        folder=folder,
        prompts=prompts,
        inversion_noise=with_noise,
        clip_frames=_clip_frames(opened, settings) if given.get("preview") else None,
        card=Card(
            settings=shared,
            step=step,
            network=layout.denoiser.part_class,
            noise_prior=settings.validation_data.noise_prior,
            with_noise=with_noise,
            with_sheet=bool(prompts),
            with_frames=bool(given.get("preview")),
            license=licence,
            clip_license=given.get("clip_license"),
            scores=scores,
        ),
        notes=notes,
    )


def _open(
    run: Path | str, given: Mapping[str, Any], name: Callable[[str], str]
) -> tuple[Run, int, TrainSettings, list[str]]:
    """Open a run: it, the checkpoint's step, settings, and what to say of a choice that gave some of them."""
    opened, step = open_checkpoint(run)
    of_run = Path(run).resolve() == opened.folder.resolve()
    if not of_run and given.get("checkpoint") not in (None, step):
        raise UserError(
            f"{name('checkpoint')} {given['checkpoint']}: {run} is a checkpoint already; give the run, "
            f"{opened.folder}, or leave the index out."
        )
    choice = read_choice(opened.folder) if of_run and "checkpoint" not in given else None
    step = given.get("checkpoint", step if choice is None else choice.checkpoint)
    checkpoint = opened.find_checkpoint(step)
    settings = opened.settings()
    if settings is None or not (checkpoint / "lora" / ADAPTER_FILE).is_file():
        raise UserError(
            f"{checkpoint} has no config.yaml beside it or no lora/{ADAPTER_FILE}: only runs of this toolkit "
            "can be packed; published ones do not say how they were made."
        )
    if len(settings.train_data.each) > 1:
        raise UserError(
            f"{opened.folder} was trained on {len(settings.train_data.each)} clips, and a pack tells of one "
            "(its prompt, its inversion noise): give the run itself to others."
        )
    settings = replace(settings, train_data=settings.train_data.first)
    if choice is None:
        return opened, step, settings, []
    video = replace(
        settings.validation_data, noise_prior=choice.noise_prior, lora_scale=choice.lora_scale
    )
    chosen = f"from {choice_file(opened.folder)}: {choice}."
    return opened, step, replace(settings, validation_data=video), [chosen]


def _check_folder(folder: Path, overwrite: bool, name: Callable[[str], str]) -> None:
    check_writable(folder, name("output_dir"))
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / PACK_FILE).is_file():
        raise UserError(
            f"{name('output_dir')} {folder} holds something else than a pack: choose another folder."
        )
    if not overwrite:
        raise UserError(
            f"{folder} is there already: choose another {name('output_dir')}, or replace it with "
            f"{name('overwrite')}."
        )


def _choose_prompts(
    settings: TrainSettings, given: Mapping[str, Any], name: Callable[[str], str]
) -> list[str]:
    """Choose what the contact sheet shows: nothing that looks like the clip, unless it is asked for."""
    if not given.get("contact_sheet", True):
        return []
    prompts = [prompt.strip() for prompt in given.get("prompts") or ()]
    if not all(prompts):
        raise UserError(f"{name('prompts')} is blank: say what the contact sheet shall show.")
    own = settings.train_data.single_video_prompt
    prompts = prompts or [each for each in settings.validation_data.prompt if each != own]
    if not prompts:
        raise UserError(
            f"the run previews nothing but its clip's own prompt: give {name('prompts')} for the contact "
            f"sheet, or {name('contact_sheet')} for none."
        )
    return list(dict.fromkeys(prompts))


def _as_shared(
    settings: TrainSettings, base_model: str | None, with_noise: bool, name: Callable[[str], str]
) -> tuple[TrainSettings, list[str]]:
    """Take from a run's settings what means nothing to others; say what they will miss."""
    notes = []
    base = base_model or settings.pretrained_model_path
    if hub_id_of(base) is None:
        notes.append(
            f"the base model is recorded as {_portable(base)}, a folder: others may have to give --model; "
            f"{name('base_model')} records its hub id."
        )
    noise_prior = settings.validation_data.noise_prior
    if noise_prior > 0 and not with_noise:
        notes.append(
            f"the noise prior of {noise_prior:g} needs the clip's inversion noise, of which the clip can be "
            f"made again: it is left out, and the noise prior is 0; {name('inversion_noise')} takes it in."
        )
    if with_noise:
        notes.append(
            "the pack holds the clip's inversion noise, of which the clip can be made again: share it as you "
            "would share the clip."
        )
    adapter = settings.motion_adapter_path
    validation = replace(settings.validation_data, noise_prior=noise_prior if with_noise else 0.0)
    shared = replace(
        settings,
        pretrained_model_path=_portable(base),
        motion_adapter_path=None if adapter is None else _portable(adapter),
        validation_data=validation,
    )
    return shared, notes


def _portable(base: str) -> str:
    """Name a base for others: by its hub id, or its path unless that leads out of where they are."""
    path = Path(base)
    away = path.is_absolute() or ".." in path.parts or base.startswith("~")
    return hub_id_of(base) or (path.name if away else path.as_posix())


def _clip_frames(run: Run, settings: TrainSettings) -> Frames:
    data = settings.train_data
    clip = ReferenceClip.of(data, run.folder)
    frames = read_clip(clip.file, clip.frames, data.n_sample_frames)
    pixels = fit_frames(frames, data.width, data.height)  # (F, 3, H, W)
    return pixels.permute(0, 2, 3, 1).numpy()
