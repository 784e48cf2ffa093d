"""Where and in which precision to compute."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from motionmatcher.errors import UserError

_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """Choose the device to compute on.

    Args:
        name: "auto" takes CUDA, then Apple's MPS, then the CPU; or a name such as "cuda:1".

    Raises:
        UserError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device: torch.device | None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps.")
    missing_cuda = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if missing_cuda or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise UserError(f"--device {name}: there is no such device here; use --device cpu.")
    return device


def weight_dtype(mixed_precision: str, device: torch.device) -> torch.dtype:
    """Choose the dtype of the frozen weights and of the student's pass.

    Args:
        mixed_precision: "no", "fp16" or "bf16".
        device: Where it runs; fp16 is computed in fp32 everywhere but on CUDA.
    """
    if mixed_precision == "no" or (mixed_precision == "fp16" and device.type != "cuda"):
        return torch.float32
    return _HALF[mixed_precision]


def available_bytes(device: torch.device) -> int:
    """Memory that is free on a device now; the RAM's for the CPU and what shares its memory."""
    import psutil  # type: ignore[import-untyped]

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def free_unused(device: torch.device) -> None:
    """Give memory that PyTorch holds back for later tensors to the device again."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def show_gib(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / 2**30:,.2f} GiB"


def compute_exactly(device: torch.device) -> None:
    """Make fp32 mean fp32, and equal runs give equal bits, in this process from now on.

    GPUs since Ampere round the inputs of fp32 convolutions to 10 bits by default (TF32), which puts
    3 % on the loss and 15 % on its gradient; fused attention's backward adds up in any order.

    Args:
        device: Where it will be computed.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.backends.cudnn.benchmark = False
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def visiting(device: torch.device, module: nn.Module) -> Iterator[None]:
    """Let a module be on a device within the block, and on the CPU after it."""
    module.to(device)
    try:
        yield
    finally:
        module.to("cpu")
