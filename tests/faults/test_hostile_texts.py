"""Texts that would be more than texts: in names of files, on the page, in the manifest."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from faults.fuzzing import cases
from faults.odd_inputs import texts
from hypothesis import given
from hypothesis import strategies as st
from processes import start

from evaluation.report import json_for_html
from evaluation.report_html import reference_card
from motionmatcher.files import slug, unique_slugs
from motionmatcher.runs.run_folder import Run

HOSTILE = (
    *(
        "../../x",
        "/etc/passwd",
        "..",
        ".hidden",
        "-rf",
        "a\nb\r\nc",
        "\x1b[2J\x07",
        "a\u202eb",
        "CON",
    ),
    *("<script>alert(1)</script>", "\"onload='x'", "$(touch x)", "`touch x`", "%s%n", "n" * 500),
)
hostile = st.sampled_from(HOSTILE) | texts | st.tuples(texts, st.sampled_from(HOSTILE)).map("".join)


@cases(300)
@given(text=hostile)
def test_a_prompt_s_file_name_is_one_harmless_name(text: str) -> None:
    name = slug(text)
    assert 0 < len(name.encode()) <= 48
    assert all(sign.isalnum() or sign in "-" for sign in name), name
    assert name[0] != "-"
    assert Path("folder", name).parent == Path("folder")


@cases(100)
@given(prompts=st.lists(hostile, max_size=6, unique=True))
def test_prompts_that_are_alike_get_names_of_their_own(prompts: list[str]) -> None:
    names = unique_slugs(prompts)
    assert len(set(names)) == len(prompts)


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@cases(150)
@given(text=hostile.filter(lambda text: "\0" not in text and "\r" not in text))
def test_texts_on_the_page_stay_texts(text: str) -> None:
    def shape(page: _Page) -> list[tuple[str, list[str]]]:
        return [(tag, [name for name, _ in attributes]) for tag, attributes in page.elements]

    page, plain = (_Page(reference_card(name, "data:,", name)) for name in (text, "plain"))
    assert shape(page) == shape(plain)
    assert text in page.text


@cases(150)
@given(text=hostile)
def test_data_on_the_page_cannot_end_their_element(text: str) -> None:
    written = json_for_html({"prompt": text, text: 1})
    assert not set("<>&") & set(written)
    assert json.loads(written) == {"prompt": text, text: 1}


def test_hostile_prompts_make_videos_that_lie_where_they_should(
    trained: Run, tmp_path: Path
) -> None:
    prompts = [text for text in HOSTILE if text.strip()]
    folder = tmp_path / "inner" / "videos"
    given = [word for text in prompts for word in ("-p", f" {text}")]
    arguments = ["-cf", trained.folder, "-d", "cpu", "-rn", 1, "-s", 1, "-np", 0, "-T", 2]
    program = start(tmp_path / "log.txt", "inference", *arguments, "-o", folder, *given)
    assert program.wait() == 0, program.output
    assert {path.name for path in tmp_path.iterdir()} == {"log.txt", "inner"}
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["videos"]
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["videos"]
    assert [entry["prompt"] for entry in entries] == [text.strip() for text in prompts]
    assert {entry["file"] for entry in entries} == {path.name for path in folder.glob("*.mp4")}
    assert "\x1b" not in program.output


@pytest.mark.parametrize("text", ["", "\0", "../..", "\ud800"])
def test_a_prompt_without_a_letter_is_called_prompt(text: str) -> None:
    assert slug(text) == "prompt"
