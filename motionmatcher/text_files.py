"""Files of text, YAML and JSON from outside: read whole, or refused in one line that says why.

Parsers recurse, in C too, so what is nested too deeply ends the process without a word. Therefore
size and nesting are looked at before a parser is.
"""

import codecs
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError

MIB = 1 << 20
MAX_YAML_BYTES = MIB
MAX_TEXT_BYTES = 64 * MIB
# Our settings nest two deep, a base model's configs four.
MAX_DEPTH = 32
# Values of a YAML text with its aliases written out.
MAX_YAML_VALUES = 10_000

_QUOTED_LETTERS = 60
# The longer ones first: UTF-32's mark begins with UTF-16's.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32-LE",
    codecs.BOM_UTF32_BE: "UTF-32-BE",
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16-LE",
    codecs.BOM_UTF16_BE: "UTF-16-BE",
}
# YAML takes these for line breaks; here they are signs like any other, so they pass its parser in
# disguise: as code points that Unicode keeps free for a program's own use.
_DISGUISES = {"\x85": "\ufdd0", "\u2028": "\ufdd1", "\u2029": "\ufdd2"}
_DISGUISE = str.maketrans(_DISGUISES)
_UNDISGUISE = str.maketrans({disguise: sign for sign, disguise in _DISGUISES.items()})


def read_text(path: Path, name: str | None = None, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a text file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Args:
        path: The file.
        name: What errors call it, such as a flag and the path; the path by default.
        max_bytes: Larger files are refused.

    Returns:
        The text without the mark, its lines ended by "\\n" alone.

    Raises:
        UserError: It is not there, not to be read, too large, or in another encoding.
    """
    name = name or str(path)
    raw = _read_bytes(path, name, max_bytes)
    marks = [mark for mark in _BYTE_ORDER_MARKS if raw.startswith(mark)]
    encoding = _BYTE_ORDER_MARKS[marks[0]] if marks else "UTF-8"
    raw = raw.removeprefix(marks[0]) if marks else raw
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        guess = " (it may be Windows-1252)" if encoding == "UTF-8" else ""
        raise UserError(
            f"{name} is not {encoding}{guess}: its line {line} has the byte "
            f"0x{raw[error.start]:02x}. Save it as UTF-8."
        ) from error
    if "\0" in text:
        raise UserError(
            f"{name} has zero bytes: it is no text, or UTF-16 without a byte order mark. "
            "Save it as UTF-8."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Returns:
        Plain values, interpolations as they are written.

    Raises:
        UserError: As `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path, max_bytes=MAX_YAML_BYTES), str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Read a YAML text, with OmegaConf's numbers (3e-4) and its refusal of keys given twice.

    Args:
        text: One document.
        name: What errors call it.

    Raises:
        UserError: It is not valid YAML, or nested or expanded beyond what settings can be.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    disguised = text.translate(_DISGUISE)
    try:
        _check_yaml_size(disguised, name)
        # Unlike load and create, this takes any value for the document, a number or a text too.
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={disguised}"]))["value"]
    except (YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).replace('"<unicode string>", ', "").split())
        if "maximum nesting depth" in reason:  # PyYAML's own limit, met before the values are seen
            raise _too_deep(name) from error
        raise UserError(f"{name} is not valid YAML: {reason}") from error
    except (ValueError, KeyError, AttributeError) as error:  # so PyYAML refuses `!!int x`
        raise UserError(
            f"{name} is not valid YAML: a value does not fit its tag or has too many digits ({error})."
        ) from error
    return map_texts(_undisguise, parsed)


def format_yaml(values: dict[str, Any]) -> str:
    """Write plain values as a YAML text that `parse_yaml` reads as the same values."""
    from omegaconf import OmegaConf

    disguised = map_texts(lambda text: text.translate(_DISGUISE), values)
    return _undisguise(OmegaConf.to_yaml(OmegaConf.create(disguised)))


def map_texts(change: Callable[[str], str], value: Any) -> Any:
    """Change all texts within plain values, those of keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_texts(change, entry) for entry in value]
    if isinstance(value, dict):
        return {map_texts(change, key): map_texts(change, entry) for key, entry in value.items()}
    return value


def read_json(path: Path, remedy: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        remedy: What to do about a damaged one, added to the error.

    Raises:
        UserError: As `read_text` and `parse_json`.
    """
    try:
        return parse_json(read_text(path), str(path))
    except UserError as error:
        raise UserError(f"{error} {remedy}".rstrip()) from error


def parse_json(text: str, name: str) -> Any:
    """Read a JSON text, strictly: NaN, infinities and halves of characters are refused.

    Args:
        text: The text.
        name: What errors call it.

    Raises:
        UserError: It is not valid JSON, or nested deeper than any of ours.
    """
    depth = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', text, re.DOTALL):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise _too_deep(name)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        content = json.loads(text, parse_constant=refuse)
    except ValueError as error:  # also a number of too many digits
        raise UserError(f"{name} is not valid JSON: {error}.") from error
    if "\\u" in text and not is_utf8(json.dumps(content, ensure_ascii=False)):
        raise UserError(f"{name} is not valid JSON: it has half a character (\\ud800).")
    return content


def shorten(text: str) -> str:
    """Put a text on one line and keep its beginning, for a message that quotes it."""
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED_LETTERS else f"{line[: _QUOTED_LETTERS - 1]}…"


def check_text(text: str, name: str) -> str:
    """Give a text back if it can be written; what came of bytes that are no UTF-8 cannot.

    Raises:
        UserError: It has halves of characters, or a NUL, which no path can have.
    """
    if "\0" in text:
        raise UserError(f"{name} holds a NUL character: {text!a}.")
    if not is_utf8(text):
        raise UserError(f"{name} cannot be written as UTF-8: {text!a}.")
    return text


def is_utf8(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: not if it came of bytes that were no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_bytes(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise UserError(f"{name} is {what}; expected a file of text.")
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise UserError(f"{name}: there is no such file.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UserError(f"{name} cannot be read: {reason}.") from error
    if len(raw) > max_bytes:
        raise UserError(f"{name} has more than {max_bytes // MIB} MiB, too much for what it is.")
    return raw


def _check_yaml_size(text: str, name: str) -> None:
    """Refuse YAML that nests too deeply or expands too far, its aliases counted as what they name."""
    import yaml

    open_nodes = [_Node(None)]
    named: dict[str | None, _Node] = {}
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        match event:
            case yaml.CollectionStartEvent():
                open_nodes.append(_Node(event.anchor))
            case yaml.CollectionEndEvent():
                closed = open_nodes.pop()
                open_nodes[-1].add(closed)
                if closed.anchor:
                    named[closed.anchor] = closed
            case yaml.ScalarEvent():
                open_nodes[-1].add(_Node(None))
            case yaml.AliasEvent():
                if event.anchor in [node.anchor for node in open_nodes]:
                    raise UserError(f"{name}: the YAML alias *{event.anchor} stands within itself.")
                open_nodes[-1].add(named.get(event.anchor, _Node(None)))
        if len(open_nodes) - 1 + open_nodes[-1].depth > MAX_DEPTH:
            raise _too_deep(name)
        if open_nodes[-1].size > MAX_YAML_VALUES:
            raise UserError(f"{name} has more than {MAX_YAML_VALUES} values, aliases written out.")


def _too_deep(name: str) -> UserError:
    return UserError(f"{name} is nested deeper than {MAX_DEPTH} levels.")


class _Node:
    """A YAML value: how many values it is with those within it, and how deep they lie."""

    def __init__(self, anchor: str | None) -> None:
        self.anchor, self.size, self.depth = anchor, 1, 0

    def add(self, child: "_Node") -> None:
        self.size += child.size
        self.depth = max(self.depth, child.depth + 1)


def _undisguise(text: str) -> str:
    return text.translate(_UNDISGUISE)
