"""A checkpoint gives back what training needs, to the bit, and is never seen half written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from launching import full_disk
from torch import Tensor, nn

from motionmatcher.bases.lora import ADAPTER_FILE, LoraInfo, add_lora, load_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.errors import UserError
from motionmatcher.runs.run_folder import STATE_FILE, Run, find_resumable, open_checkpoint
from motionmatcher.tensor_files import read_tensors, write_tensors
from motionmatcher.training import checkpoints
from motionmatcher.training.checkpoints import Progress, load_training_state, save_checkpoint

INFO = LoraInfo(rank=2, targets=("spatial_conv",))


@pytest.fixture
def unet(tiny_base: Path) -> MotionUNet:
    unet = MotionUNet.from_pretrained(tiny_base, subfolder="unet")
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
    tmp_path: Path, unet: MotionUNet, tiny_base: Path
) -> None:
    optimizer = make_optimizer(unet)
    for step in range(3):
        update(unet, optimizer, step)
    folder = tmp_path / "checkpoint-3"
    save_checkpoint(folder, 3, unet, INFO, optimizer, scaler(1024.0))
    assert (folder / "lora" / ADAPTER_FILE).is_file()
    moments = optimizer.state_dict()["state"]

    resumed = MotionUNet.from_pretrained(tiny_base, subfolder="unet")
    load_lora(resumed, folder / "lora")
    for weight in resumed.lora_parameters().values():
        weight.requires_grad_(True)
    again, again_scaler = make_optimizer(resumed), scaler(2.0)
    threads = torch.get_num_threads()
    assert load_training_state(folder, again, again_scaler) == Progress(3, 0, threads)
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


def test_on_a_full_disk_the_lora_is_kept_and_the_checkpoints_before(
    tmp_path: Path, unet: MotionUNet
) -> None:
    run = Run(tmp_path)

    def save(step: int) -> None:
        optimizer = make_optimizer(unet)
        for made in range(step):
            update(unet, optimizer, made)
        save_checkpoint(run.checkpoint_folder(step), step, unet, INFO, optimizer, None)

    with full_disk(100), pytest.raises(UserError, match=r"Make room, then start anew\."):
        save(1)
    save(1)
    lora_bytes = (run.checkpoint_folder(1) / "lora" / ADAPTER_FILE).stat().st_size
    with (
        full_disk(lora_bytes + 100),
        pytest.raises(UserError, match=f"LoRA is kept.*--resume {tmp_path}$"),
    ):
        save(2)
    assert [path.name for path in run.checkpoint_folder(2).iterdir()] == ["lora"]
    assert find_resumable(str(tmp_path)) == (run, 1)
    assert open_checkpoint(tmp_path) == (run, 2), "inference takes the newest LoRA"
    message = f"{run.checkpoint_folder(3)} cannot be saved: File too large; nothing of it is kept"
    with full_disk(lora_bytes - 100), pytest.raises(UserError, match=message):
        save(3)
    assert run.checkpoint_steps() == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2, "nothing half written is left"
    assert load_training_state(run.checkpoint_folder(1), make_optimizer(unet), None).step == 1
    save(2)  # there is room again
    assert find_resumable(str(tmp_path)) == (run, 2)
    with full_disk(lora_bytes + 100), pytest.raises(UserError, match="nothing of it is kept"):
        save(2)
    assert load_training_state(run.checkpoint_folder(2), make_optimizer(unet), None).step == 2


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path, unet: MotionUNet) -> None:
    optimizer = make_optimizer(unet)
    update(unet, optimizer, 0)
    folder = tmp_path / "checkpoint-1"
    for gradient in (1, 2):
        (folder / "stale").mkdir(parents=True, exist_ok=True)
        optimizer = make_optimizer(unet)
        update(unet, optimizer, gradient)
        save_checkpoint(folder, 1, unet, INFO, optimizer, None)
        assert not (folder / "stale").exists()
        again = make_optimizer(unet)
        assert load_training_state(folder, again, None).step == 1
        for parameter, moments in optimizer.state.items():
            assert torch.equal(again.state[parameter]["exp_avg"], moments["exp_avg"])


def test_a_checkpoint_without_training_state(tmp_path: Path, unet: MotionUNet) -> None:
    message = f"has no {STATE_FILE}: it can be used by inference.py, or as lora_path of a new run"
    with pytest.raises(UserError, match=message):
        load_training_state(tmp_path, make_optimizer(unet), None)


def test_a_checkpoint_of_other_targets(tmp_path: Path, unet: MotionUNet, tiny_base: Path) -> None:
    optimizer = make_optimizer(unet)
    update(unet, optimizer, 0)
    save_checkpoint(tmp_path / "checkpoint-1", 1, unet, INFO, optimizer, None)
    other = MotionUNet.from_pretrained(tiny_base, subfolder="unet")
    add_lora(other, 2, ["temporal_conv"])
    with pytest.raises(
        UserError, match="belongs to a LoRA with other targets: resume with the run"
    ):
        load_training_state(tmp_path / "checkpoint-1", make_optimizer(other), None)


class NestingOptimizer(torch.optim.Optimizer):
    """Like 8-bit optimisers: whole numbers in its state, and a `state_dict` of its own form."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
            state["state1"] = torch.full((3,), state["step"], dtype=torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        pytest.fail("not a common form")


def test_an_optimiser_whose_state_dict_nests_tensors(unet: MotionUNet, tmp_path: Path) -> None:
    """Only the state by parameter has the same form everywhere."""
    parameters = list(unet.lora_parameters().values())
    optimizer, again = NestingOptimizer(parameters), NestingOptimizer(parameters)
    for _ in range(4):
        optimizer.step()
    save_checkpoint(tmp_path / "checkpoint-4", 4, unet, INFO, optimizer, None)
    assert load_training_state(tmp_path / "checkpoint-4", again, None).step == 4
    for parameter in parameters:
        assert again.state[parameter]["step"] == 4
        assert torch.equal(again.state[parameter]["state1"], torch.full((3,), 4, dtype=torch.uint8))


# --- what is read back is what it must be


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> list[nn.Parameter]:
    """What is trained, here without the UNet around it."""
    monkeypatch.setattr(checkpoints, "save_lora", lambda *_: None)
    return [nn.Parameter(torch.ones(2, 6)), nn.Parameter(torch.ones(4, 2))]


@pytest.fixture
def saved(tmp_path: Path, weights: list[nn.Parameter]) -> Path:
    """A checkpoint of two updates, saved with fp16's scaler."""
    optimizer = torch.optim.AdamW(weights)
    for step in (1.0, 2.0):
        for weight in weights:
            weight.grad = torch.full_like(weight, step)
        optimizer.step()
    save_checkpoint(tmp_path / "checkpoint-2", 2, ANY, INFO, optimizer, scaler(8.0))
    return tmp_path / "checkpoint-2"


def rewrite(
    folder: Path,
    change: Callable[[dict[str, Tensor], dict[str, Any]], None],
) -> None:
    tensors, state = read_tensors(folder / STATE_FILE)
    change(tensors, state)
    write_tensors(folder / STATE_FILE, tensors, state)


def with_moment(name: str, make: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    def change(tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        tensors[f"optimizer.1.{name}"] = make(tensors[f"optimizer.1.{name}"])

    return change


def with_entry(key: str, value: Any) -> Callable[..., None]:
    return lambda tensors, state: state.update({key: value})


def with_scaler(**values: Any) -> Callable[..., None]:
    return lambda tensors, state: state["scaler"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_moment("exp_avg", lambda m: m[:0]), r"optimizer\.1\.exp_avg is empty"),
        (with_moment("exp_avg", lambda m: m.T), r"exp_avg has the shape \[.*\], not \["),
        (with_moment("exp_avg_sq", lambda m: m[:1]), r"exp_avg_sq has the shape"),
        (with_moment("exp_avg", lambda m: m * torch.nan), r"exp_avg holds NaN or infinity"),
        (with_moment("exp_avg_sq", lambda m: m / 0), r"exp_avg_sq holds NaN or infinity"),
        (with_moment("exp_avg_sq", lambda m: -m), r"exp_avg_sq holds negative numbers"),
        (
            with_moment("exp_avg", torch.Tensor.half),
            r"a tensor of float16, not a tensor of float32",
        ),
        (with_moment("exp_avg", torch.Tensor.int), r"a tensor of int32, not a tensor of float32"),
        (with_moment("step", lambda step: step + 1), r"optimizer\.1\.step is 3, not 2"),
        (with_moment("step", lambda step: step.expand(2)), r"step has the shape \[2\], not \[\]"),
        (lambda tensors, state: tensors.pop("optimizer.1.step"), r"has exp_avg, exp_avg_sq, not"),
        (lambda tensors, state: tensors.update({"w": torch.ones(1)}), r"it holds 'w', which is no"),
        (lambda tensors, state: tensors.clear(), r"belongs to a LoRA with other targets"),
        (with_entry("numbers", {"optimizer.1.step": 2}), r"step is a int, not a tensor of float32"),
        (with_entry("step", 3), r"is of step 3, not of checkpoint-2"),
        (with_entry("step", "2"), r"its step is '2', not a whole number"),
        (with_entry("step", None), r"its step is None, not a whole number"),
        (with_entry("skipped_updates", 1), r"step is 2, not 1"),
        (with_entry("skipped_updates", 3), r"counts more skipped updates than steps"),
        (with_entry("num_threads", 1.5), r"its num_threads is 1\.5, not a whole number"),
        (with_entry("scaler", [1]), r"its scaler is \[1\], not fp16's loss scaler"),
        (with_scaler(scale=float("nan")), "is not valid JSON: NaN is not JSON"),
        (with_scaler(scale=0.0), r"not fp16's loss scaler"),
        (with_scaler(growth_interval="x"), r"not fp16's loss scaler"),
    ],
)
def test_a_state_that_is_not_what_it_must_be_is_one_line(
    saved: Path, weights: list[nn.Parameter], change: Callable[..., None], message: str
) -> None:
    rewrite(saved, change)
    optimizer, its_scaler = torch.optim.AdamW(weights), scaler(2.0)
    before = [weight.detach().clone() for weight in weights]
    with pytest.raises(UserError, match=message) as error:
        load_training_state(saved, optimizer, its_scaler)
    assert str(saved / STATE_FILE) in str(error.value)
    assert "\n" not in str(error.value)
    assert not optimizer.state, "nothing is set of a state that is not taken"
    assert its_scaler.get_scale() == 2.0
    assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))


def test_a_checkpoint_moved_to_another_step(saved: Path, weights: list[nn.Parameter]) -> None:
    moved = saved.rename(saved.with_name("checkpoint-4"))
    with pytest.raises(UserError, match="is of step 2, not of checkpoint-4"):
        load_training_state(moved, torch.optim.AdamW(weights), None)


def test_an_older_state_leaves_skipped_updates_to_the_optimiser(
    saved: Path, weights: list[nn.Parameter]
) -> None:
    def make_old(tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        del state["skipped_updates"], state["num_threads"]
        state["step"] = 5

    rewrite(saved, make_old)
    folder = saved.rename(saved.with_name("checkpoint-5"))
    assert load_training_state(folder, torch.optim.AdamW(weights), scaler(1.0)) == Progress(
        5, 3, None
    )


def test_a_state_before_the_first_update(tmp_path: Path, weights: list[nn.Parameter]) -> None:
    """fp16 overflowed in every step so far."""
    folder = tmp_path / "checkpoint-3"
    save_checkpoint(
        folder, 3, ANY, INFO, torch.optim.AdamW(weights), scaler(4.0), skipped_updates=3
    )
    optimizer, its_scaler = torch.optim.AdamW(weights), scaler(1.0)
    assert load_training_state(folder, optimizer, its_scaler).skipped_updates == 3
    assert its_scaler.get_scale() == 4.0
    assert not optimizer.state
