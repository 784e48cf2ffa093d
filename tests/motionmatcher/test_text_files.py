"""Texts, YAML and JSON from outside are read whole or refused in one line, before parsers see them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from motionmatcher import text_files
from motionmatcher.errors import UserError
from motionmatcher.text_files import (
    MAX_DEPTH,
    MAX_YAML_VALUES,
    format_yaml,
    parse_json,
    parse_yaml,
    read_json,
    read_text,
    read_yaml,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.txt"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_is_the_same_in_every_encoding_with_a_mark(file: Path, encoding: str) -> None:
    file.write_bytes("Ein Bär,\r\n狗\u2028🐶\rEnde\n".encode(encoding))
    assert read_text(file) == "Ein Bär,\n狗\u2028🐶\nEnde\n"


def test_the_other_byte_order(file: Path) -> None:
    file.write_bytes(b"\xfe\xff" + "Bär".encode("utf-16-be"))
    assert read_text(file) == "Bär"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "A dog.\nUn café".encode("cp1252"),
            r"is not UTF-8 \(it may be Windows-1252\): its line 2 has the byte 0xe9",
        ),
        (b"\xff\xfeA", "is not UTF-16-LE: its line 1 has the byte 0x41"),
        (b"\xef\xbb\xbf\xff", r"is not UTF-8 \(.*\): its line 1 has the byte 0xff"),
        ("A dog.".encode("utf-16-le"), "has zero bytes: it is no text, or UTF-16 without a byte"),
    ],
)
def test_another_encoding_is_named_with_the_file(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"file.txt {message}.*Save it as UTF-8") as caught:
        read_text(file)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_to_read_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, message in {
        "none": "none: there is no such file",
        ".": "is a folder; expected a file of text",
        "fifo": "fifo is no regular file; expected a file of text",
        "a\0b": "cannot be read: ",
        300 * "n": "cannot be read: File name too long",
    }.items():
        with pytest.raises(UserError, match=message):
            read_text(tmp_path / name)
    with pytest.raises(UserError, match=r"^--prompts none: there is no such file\.$"):
        read_text(Path("none"), "--prompts none")


def test_a_file_is_not_read_beyond_its_limit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("0123")
    assert read_text(file, max_bytes=4) == "0123"
    with pytest.raises(UserError, match=r"file.txt has more than 0 MiB"):
        read_text(file, max_bytes=3)
    monkeypatch.setattr(text_files, "MAX_YAML_BYTES", 3)
    with pytest.raises(UserError, match=r"file.txt has more than 0 MiB"):
        read_yaml(file)


def nested(depth: int) -> str:
    return depth * "[" + depth * "]"


def depth_of(value: Any) -> int:
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_nesting_has_a_limit(parse: Any) -> None:
    assert depth_of(parse(nested(MAX_DEPTH), "text")) == MAX_DEPTH
    for text in (nested(MAX_DEPTH + 1), 50_000 * "[", 50_000 * '{"a":'):
        with pytest.raises(UserError, match=f"^text is nested deeper than {MAX_DEPTH} levels"):
            parse(text, "text")


def test_brackets_in_texts_are_no_nesting() -> None:
    content = {"a": '["\\"[[' * 100, "b": [1]}
    assert parse_json(json.dumps(content), "text") == content
    assert parse_json('"\\""', "text") == '"'


def test_aliases_count_as_what_they_name() -> None:
    assert parse_yaml("a: &x [1]\nb: *x\nc: &y 5\nd: [*y, *y]", "text") == {
        "a": [1],
        "b": [1],
        "c": 5,
        "d": [5, 5],
    }
    chain = "".join(f"- &a{level + 1} [*a{level}]\n" for level in range(MAX_DEPTH))
    with pytest.raises(UserError, match="text is nested deeper"):
        parse_yaml(f"- &a0 [1]\n{chain}", "text")
    tenfold = "".join(f"- &a{level + 1} [{','.join(10 * [f'*a{level}'])}]\n" for level in range(9))
    with pytest.raises(UserError, match=f"^text has more than {MAX_YAML_VALUES} values, aliases"):
        parse_yaml(f"- &a0 [1]\n{tenfold}", "text")
    with pytest.raises(UserError, match=r"text: the YAML alias \*a stands within itself"):
        parse_yaml("a: &a {b: [*a]}", "text")


@pytest.mark.parametrize("value", ["!!int x", "!!bool x", "!!timestamp x", "0x_", 5000 * "9"])
def test_values_that_do_not_fit_their_yaml_tag(value: str) -> None:
    with pytest.raises(UserError, match=r"^text is not valid YAML: a value does not fit its tag"):
        parse_yaml(f"seed: {value}", "text")


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("3e-4", 3e-4), ("a b", "a b"), ("", None), ("{a: [1, x]}", {"a": [1, "x"]})],
)
def test_any_value_is_a_yaml_document(text: str, value: object) -> None:
    assert parse_yaml(text, "text") == value


def test_only_newlines_end_a_line_of_yaml() -> None:
    values = {"a": "x\u2028y", "b": ["x \u2029 y \x85"], "c": "z\u2028\x1b"}
    assert parse_yaml("a: x\u2028y\nb: ['x \u2029 y \x85']\nc: \"z\u2028\\e\"", "text") == values
    assert parse_yaml(format_yaml(values), "text") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        (5000 * "9", "Exceeds the limit"),
        (r'["\ud800"]', "it has half a character"),
    ],
)
def test_damaged_json(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=rf"file.txt is not valid JSON: {message}.* Delete it\.$"):
        read_json(file, "Delete it.")


def test_whole_characters_in_json_escapes() -> None:
    assert parse_json(r'["\ud83d\udc36", "\\ud800"]', "text") == ["🐶", r"\ud800"]
