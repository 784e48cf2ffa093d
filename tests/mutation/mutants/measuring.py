"""Mutants of measuring a GPU: what keeps a part's results, and what they are compared with."""

from mutation.mutant import mutants

MEASURING = mutants(
    "benchmarks/timed_parts.py",
    "tests/benchmarks/test_timed_parts.py",
    {
        "a part's time limit is that of all": (
            "min(self.begin + part.limit_s, latest_end)",
            "latest_end",
        ),
        "what a part has started lives on": ("os.killpg(pid, signal.SIGKILL)", "pass"),
        "what was found is told at the end": (
            "self.result.found.append(self.receiver.recv())",
            "self.result.found.append(self.receiver.recv()); return False",
        ),
        "nothing runs beside the others": (
            "waiting[0].beside or all(each.part.beside for each in running)",
            "not running",
        ),
        "parts begin when all time is over": ("if time.monotonic() < end:", "if True:"),
        "a part that ends within a message ends all": ("except (EOFError, OSError):", "except EOFError:"),
    },
) + mutants(
    "benchmarks/gpu_tables.py",
    "tests/benchmarks/test_gpu.py::test_shares_and_ratios_by_hand",
    {
        "the estimate by the peak": (
            'found["peak_bytes"] / count["peak_bytes"]',
            'count["peak_bytes"] / found["peak_bytes"]',
        ),
        "a share is of the first rate there is": (
            'rates[found["precision"]]',
            "next(iter(rates.values()))",
        ),
        "bases share their counts": ('(found["base"], found["name"])', '("zeroscope", found["name"])'),
    },
) + mutants(
    "benchmarks/gpu_tables.py",
    "tests/benchmarks/test_gpu.py::test_an_update_that_fp16_skips_loses_nothing",
    {"numbers that JSON has not stay": ("not math.isfinite(value)", "False")},
)  # fmt: skip
