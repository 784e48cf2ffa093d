"""The list of mutants fits the project as it is, and what survives without a reason is told."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from launching import PROJECT
from mutation.__main__ import summarise
from mutation.mutant import Mutant
from mutation.mutants import MUTANTS
from mutation.running import Outcome


def test_each_mutant_changes_one_place() -> None:
    for mutant in MUTANTS:
        content = (PROJECT / mutant.file).read_text(encoding="utf-8")
        assert content.count(mutant.old) == 1, mutant.title
        assert mutant.new != mutant.old, mutant.title


def test_titles_are_unique() -> None:
    (_, most), *_ = Counter(mutant.title for mutant in MUTANTS).most_common(1)
    assert most == 1


def test_the_tests_they_name_are_there() -> None:
    for test in {test for mutant in MUTANTS for test in mutant.tests}:
        file, _, function = test.partition("::")
        content = (PROJECT / file).read_text(encoding="utf-8")
        assert f"def {function}(" in content or not function, test


MUTANT = Mutant("a sum is a product", "maths.py", "a + b", "a * b", ("tests/test_maths.py",))


def test_a_mutant_changes_its_one_place(tmp_path: Path) -> None:
    file = tmp_path / "maths.py"
    file.write_text("total = a + b\n")
    MUTANT.apply(tmp_path)
    assert file.read_text() == "total = a * b\n"


@pytest.mark.parametrize(("content", "times"), [("a - b", 0), ("a + b, a + b", 2)])
def test_a_mutant_whose_place_is_gone_is_named(tmp_path: Path, content: str, times: int) -> None:
    (tmp_path / "maths.py").write_text(content)
    message = f"maths: a sum is a product: its text is {times} times in maths.py, not once"
    with pytest.raises(LookupError, match=message):
        MUTANT.apply(tmp_path)


@pytest.mark.parametrize(
    ("verdict", "reason", "line"),
    [
        ("failed", "", "1 killed, 0 survive with a reason, 0 wrong"),
        ("passed", "", "tests/test_maths.py did not notice"),
        ("passed", "nobody adds", "survives: nobody adds"),
        ("failed", "nobody adds", "need not say why it survives"),
        ("broken", "", "its tests could not run\nno module named maths"),
    ],
)
def test_what_is_wrong_is_said_and_fails(
    verdict: str, reason: str, line: str, capsys: pytest.CaptureFixture
) -> None:
    mutant = replace(MUTANT, survives=reason)
    code = summarise([mutant], [Outcome(verdict, 1.0, "no module named maths")], seconds=1)
    assert code == (0 if (verdict, reason) in {("failed", ""), ("passed", "nobody adds")} else 1)
    assert line in capsys.readouterr().out
