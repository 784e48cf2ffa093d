"""Devices are chosen, or refused by name."""

import pytest
import torch

from motionmatcher.devices import choose_device, compute_exactly, weight_dtype
from motionmatcher.errors import UserError


def pretend(monkeypatch: pytest.MonkeyPatch, cuda_devices: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda_devices)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda_devices", "mps", "chosen"),
    [(1, True, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_the_fastest(
    monkeypatch: pytest.MonkeyPatch, cuda_devices: int, mps: bool, chosen: str
) -> None:
    pretend(monkeypatch, cuda_devices, mps)
    assert choose_device() == torch.device(chosen)


def test_a_named_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda_devices=2, mps=False)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch, cuda_devices=0, mps=False)
    with pytest.raises(UserError, match=rf"--device {name}: there is no such device here"):
        choose_device(name)


def test_one_gpu_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda_devices=2, mps=False)
    with pytest.raises(UserError, match="--device cuda:2: there is no such device here"):
        choose_device("cuda:2")


def test_a_name_that_is_no_device() -> None:
    with pytest.raises(UserError, match="--device gpu: expected auto, cpu, cuda, cuda:N or mps"):
        choose_device("gpu")


@pytest.mark.parametrize(
    ("mixed_precision", "device", "dtype"),
    [
        ("no", "cpu", torch.float32),
        ("no", "cuda", torch.float32),
        ("fp16", "cpu", torch.float32),
        ("fp16", "cuda", torch.float16),
        ("bf16", "cpu", torch.bfloat16),
        ("bf16", "cuda", torch.bfloat16),
    ],
)
def test_weight_dtype(mixed_precision: str, device: str, dtype: torch.dtype) -> None:
    assert weight_dtype(mixed_precision, torch.device(device)) == dtype


def test_computing_exactly_switches_tf32_off() -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    compute_exactly(torch.device("cpu"))
    assert torch.backends.cudnn.allow_tf32 is False
    assert torch.get_float32_matmul_precision() == "highest"
