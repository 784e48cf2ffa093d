"""The machine: what the numeric libraries read of it when they are imported, and its processor."""

import os
import platform
import re
from pathlib import Path


def settle_environment() -> None:
    """Settle how threads wait and how MKL rounds, unless the user has; before torch is imported."""
    # Threads that wait by spinning bring each other to a crawl when cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # MKL's products must not depend on where in memory their operands lie, or no run repeats to the bit.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def processor_name() -> str:
    """Name the processor, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        text = information.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()
