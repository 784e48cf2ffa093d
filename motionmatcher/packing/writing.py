"""Write a motion pack of a run: the one call behind `python -m motionmatcher.pack`."""

import shutil
import tempfile
from pathlib import Path

import torch

from motionmatcher.bases.lora import ADAPTER_FILE, COMFYUI_FILE
from motionmatcher.clips.contact_sheet import write_contact_sheet
from motionmatcher.clips.reference import Reference
from motionmatcher.devices import compute_exactly
from motionmatcher.files import atomic_folder, write_text, writing
from motionmatcher.generation.generate import generate
from motionmatcher.generation.request import make_request
from motionmatcher.packing.plan import PackPlan
from motionmatcher.reporting import note, progress_bar
from motionmatcher.runs.pack_folder import CARD_FILE, SHEET_FILE, Pack
from motionmatcher.runs.run_base import load_run_base
from motionmatcher.tensor_files import read_tensors, require_sound


def write_pack(plan: PackPlan, device: torch.device) -> Pack:
    """Write a pack, whole or not at all.

    Args:
        plan: What `plan_pack` checked.
        device: Where to compute inversion noise and contact sheet.

    Raises:
        UserError: Weights are damaged, sampling failed, or the file system refuses.
    """
    for line in plan.notes:
        note(line)
    with atomic_folder(plan.folder) as temporary:
        pack = Pack(temporary, plan.shared)
        _copy_lora(plan.run.checkpoint_folder(plan.step) / "lora", temporary)
        pack.write_settings(plan.step)
        if plan.inversion_noise:
            _write_noise(plan, pack, device)
        if plan.prompts:
            _write_sheet(plan, pack, device)
        write_text(temporary / CARD_FILE, plan.card.text())
    return Pack.open(plan.folder)


def _copy_lora(source: Path, folder: Path) -> None:
    for name in (ADAPTER_FILE, COMFYUI_FILE):
        file = source / name
        if file.is_file():
            for entry, tensor in read_tensors(file)[0].items():
                require_sound(f"{file}: {entry}", tensor)
            with writing(folder / name):
                shutil.copyfile(file, folder / name)


def _write_noise(plan: PackPlan, pack: Pack, device: torch.device) -> None:
    settings, sampling = plan.settings, plan.settings.validation_data
    compute_exactly(device)
    base = load_run_base(plan.run, settings, plan.layout, device, [""])
    assert sampling.num_frames is not None
    assert sampling.width is not None
    assert sampling.height is not None
    (reference,) = Reference.each_of_run(settings, base, plan.run)
    noise = reference.inversion_noise(
        sampling.num_frames,
        sampling.width,
        sampling.height,
        sampling.num_inference_steps,
        lambda steps: progress_bar(steps, "inverting the reference"),
    )
    pack.write_noise(noise, base.fingerprint)


def _write_sheet(plan: PackPlan, pack: Pack, device: torch.device) -> None:
    """Generate videos with the pack as others will, and show them."""
    with tempfile.TemporaryDirectory() as videos:
        request = make_request(
            pack,
            plan.prompts,
            model=plan.layout.name,
            motion_adapter=_adapter_path(plan),
            repeat_num=1,
            output_dir=Path(videos),
        )
        made = generate(request, device)
        clips, labels = [video.frames for video in made], [video.prompt for video in made]
    if plan.clip_frames is not None:
        clips, labels = [plan.clip_frames, *clips], ["reference", *labels]
    write_contact_sheet(pack.folder / SHEET_FILE, clips, labels)


def _adapter_path(plan: PackPlan) -> str | None:
    adapter = plan.layout.motion_adapter
    return None if adapter is None else str(plan.layout.path_of(adapter))
