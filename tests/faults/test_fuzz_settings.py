"""Whatever a settings file or an override says: one line and exit code 2, or a run that can begin."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from faults.fuzzing import begin, cases, networks_kept, patched, require_clean_end
from faults.odd_inputs import keys, spoilt_bytes, spoilt_values, structures, texts, words
from hypothesis import given
from hypothesis import strategies as st

import train
from motionmatcher.cost.step import StepCost


@pytest.fixture(scope="module")
def values(quick_values: dict[str, Any]) -> dict[str, Any]:
    return {**quick_values, "output_dir": "runs"}


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """Dry run of a settings file with a content."""
    folder = tmp_path_factory.mktemp("fuzz")

    def call(content: bytes, *overrides: str) -> int:
        (folder / "config.yaml").write_bytes(content)
        arguments = ["--config", "config.yaml", "--dry-run", *overrides]
        return require_clean_end(train.main, arguments, folder)

    with networks_kept():
        yield call


@pytest.fixture
def uncounted() -> Iterator[None]:
    """Ends a dry run where it builds the networks, which takes a second."""
    with patched("motionmatcher.cost.estimate.estimate_run", begin):
        yield


@pytest.fixture
def built() -> Iterator[None]:
    """Leaves out of a dry run what takes seconds: to count what a step costs."""
    with patched(
        "motionmatcher.cost.step.FakeStep.cost", lambda step: StepCost(1, {"weights": 1}, 1)
    ):
        yield


def as_yaml(values: Mapping[str, Any]) -> bytes:
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.usefixtures("built")
def test_good_settings_pass(dry_run: Callable[..., int], values: dict[str, Any]) -> None:
    """Or else the others would find nothing but refusals."""
    assert dry_run(as_yaml(values), "seed=3") == 0


@pytest.mark.usefixtures("built")
@cases(120)
@given(data=st.data())
def test_values(dry_run: Callable[..., int], values: dict[str, Any], data: st.DataObject) -> None:
    dry_run(as_yaml(data.draw(spoilt_values(values))))


@pytest.mark.usefixtures("uncounted")
@cases(80)
@given(data=st.data())
def test_bytes(dry_run: Callable[..., int], values: dict[str, Any], data: st.DataObject) -> None:
    dry_run(data.draw(spoilt_bytes(as_yaml(values))))


anything = structures.map(yaml.safe_dump) | texts


@pytest.mark.usefixtures("uncounted")
@cases(50)
@given(content=anything.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=30))
def test_anything_but_settings(dry_run: Callable[..., int], content: bytes) -> None:
    dry_run(content)


@pytest.mark.usefixtures("uncounted")
@cases(120)
@given(
    overrides=st.lists(
        st.tuples(keys, words | structures.map(str)).map("=".join) | words, min_size=1, max_size=3
    ).filter(lambda overrides: not any("\0" in override for override in overrides))
)
def test_overrides(
    dry_run: Callable[..., int], values: dict[str, Any], overrides: list[str]
) -> None:
    dry_run(as_yaml(values), *overrides)
