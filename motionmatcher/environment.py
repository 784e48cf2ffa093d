"""Environment variables that the numeric libraries read when they are imported."""

import os


def settle_environment() -> None:
    """Settle how threads wait and how MKL rounds, unless the user has; before torch is imported."""
    # Threads that wait by spinning bring each other to a crawl when cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # MKL's products must not depend on where in memory their operands lie, or no run repeats to the bit.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
