"""A checkpoint gives back what training needs, to the bit, and is never seen half written."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from motionmatcher import checkpoints
from motionmatcher.checkpoints import STATE_FILE, load_training_state, save_checkpoint
from motionmatcher.errors import UserError
from motionmatcher.lora import ADAPTER_FILE, LoraInfo, add_lora, load_lora
from motionmatcher.runs import Run
from motionmatcher.unet import MotionUNet

INFO = LoraInfo(rank=2, targets=("spatial_conv",))


@pytest.fixture
def unet(base_folder: Path) -> MotionUNet:
    unet = MotionUNet.from_pretrained(base_folder, subfolder="unet")
    add_lora(unet, 2, ["spatial_conv"])
    return unet


def make_optimizer(unet: MotionUNet) -> torch.optim.AdamW:
    return torch.optim.AdamW(list(unet.lora_parameters().values()), lr=0.01)


def update(unet: MotionUNet, optimizer: torch.optim.Optimizer, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for weight in unet.lora_parameters().values():
        weight.grad = torch.randn(weight.shape, generator=generator)
    optimizer.step()


def values(unet: MotionUNet) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in unet.lora_parameters().items()}


def scaler(scale: float) -> torch.amp.GradScaler:
    made = torch.amp.GradScaler("cpu", init_scale=scale)
    made.scale(torch.zeros(()))  # the scale is a tensor from the first use on
    return made


def test_resumed_equals_unbroken_to_the_bit(
    tmp_path: Path, unet: MotionUNet, base_folder: Path
) -> None:
    optimizer = make_optimizer(unet)
    for step in range(3):
        update(unet, optimizer, step)
    folder = tmp_path / "checkpoint-3"
    save_checkpoint(folder, 3, unet, INFO, optimizer, scaler(1024.0))
    assert (folder / "lora" / ADAPTER_FILE).is_file()
    moments = optimizer.state_dict()["state"]

    resumed = MotionUNet.from_pretrained(base_folder, subfolder="unet")
    load_lora(resumed, folder / "lora")
    for weight in resumed.lora_parameters().values():
        weight.requires_grad_(True)
    again, again_scaler = make_optimizer(resumed), scaler(2.0)
    assert load_training_state(folder, again, again_scaler) == 3
    assert again_scaler.get_scale() == 1024.0
    loaded = again.state_dict()["state"]
    assert loaded.keys() == moments.keys()
    for index, entry in moments.items():
        assert set(entry) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(loaded[index][name], entry[name]) for name in entry)

    for model, its_optimizer in ((unet, optimizer), (resumed, again)):
        update(model, its_optimizer, 3)
    unbroken, continued = values(unet), values(resumed)
    assert unbroken.keys() == continued.keys()
    assert all(torch.equal(continued[name], unbroken[name]) for name in unbroken)


def test_the_optimizer_keeps_the_config_s_settings(tmp_path: Path, unet: MotionUNet) -> None:
    optimizer = make_optimizer(unet)
    update(unet, optimizer, 0)
    save_checkpoint(tmp_path / "checkpoint-1", 1, unet, INFO, optimizer, None)
    other = torch.optim.AdamW(list(unet.lora_parameters().values()), lr=0.5, weight_decay=0.25)
    load_training_state(tmp_path / "checkpoint-1", other, scaler(8.0))
    assert other.param_groups[0]["lr"] == 0.5
    assert other.param_groups[0]["weight_decay"] == 0.25


def test_an_unfinished_checkpoint_is_never_seen(
    tmp_path: Path, unet: MotionUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = make_optimizer(unet)
    update(unet, optimizer, 0)
    run = Run(tmp_path)
    seen = []

    def full_disk(*args: object, **kwargs: object) -> None:
        seen.append(run.checkpoint_steps())
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_tensors", full_disk)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(run.checkpoint_folder(1), 1, unet, INFO, optimizer, None)
    assert seen == [[]]
    assert run.checkpoint_steps() == []
    save_checkpoint(run.checkpoint_folder(1), 1, unet, INFO, optimizer, None)
    assert run.checkpoint_steps() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path, unet: MotionUNet) -> None:
    optimizer = make_optimizer(unet)
    folder = tmp_path / "checkpoint-1"
    for step in range(2):
        update(unet, optimizer, step)
        (folder / "stale").mkdir(parents=True, exist_ok=True)
        save_checkpoint(folder, step, unet, INFO, optimizer, None)
        assert not (folder / "stale").exists()
        assert load_training_state(folder, make_optimizer(unet), None) == step


def test_a_checkpoint_without_training_state(tmp_path: Path, unet: MotionUNet) -> None:
    message = f"has no {STATE_FILE}: it can be used by inference.py, or as lora_path of a new run"
    with pytest.raises(UserError, match=message):
        load_training_state(tmp_path, make_optimizer(unet), None)


def test_a_checkpoint_of_other_targets(tmp_path: Path, unet: MotionUNet, base_folder: Path) -> None:
    optimizer = make_optimizer(unet)
    update(unet, optimizer, 0)
    save_checkpoint(tmp_path / "checkpoint-1", 1, unet, INFO, optimizer, None)
    other = MotionUNet.from_pretrained(base_folder, subfolder="unet")
    add_lora(other, 2, ["temporal_conv"])
    with pytest.raises(
        UserError, match="belongs to a LoRA with other targets: resume with the run"
    ):
        load_training_state(tmp_path / "checkpoint-1", make_optimizer(other), None)


def test_an_optimiser_whose_state_dict_nests_tensors(
    unet: MotionUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8-bit optimisers do; only the state by parameter has the same form everywhere."""
    parameters = list(unet.lora_parameters().values())
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        optimizer.state[parameter] = {"state1": torch.ones(3, dtype=torch.uint8), "step": 4}
    monkeypatch.setattr(optimizer, "state_dict", lambda: pytest.fail("not a common form"))
    save_checkpoint(tmp_path / "checkpoint-4", 4, unet, INFO, optimizer, None)
    again = torch.optim.AdamW(parameters)
    assert load_training_state(tmp_path / "checkpoint-4", again, None) == 4
    for parameter in parameters:
        assert again.state[parameter]["step"] == 4
        assert torch.equal(again.state[parameter]["state1"], torch.ones(3, dtype=torch.uint8))
