"""Where and in which precision to compute."""

import torch

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
