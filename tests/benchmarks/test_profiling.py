"""The profiler's events are read right; what it measures of a step is in test_cost.py."""

from types import SimpleNamespace

from benchmarks.profiling import _within_product


def test_products_within_products_count_once() -> None:
    convolution = SimpleNamespace(name="aten::convolution", cpu_parent=None)
    between = SimpleNamespace(name="aten::slow_conv3d", cpu_parent=convolution)
    inner = SimpleNamespace(name="aten::mm", cpu_parent=between)
    other = SimpleNamespace(name="aten::linear", cpu_parent=None)
    alone = SimpleNamespace(name="aten::addmm", cpu_parent=other)
    assert _within_product(inner)
    assert not _within_product(convolution)
    assert not _within_product(alone)
