"""Labels in pictures: any text, wrapped, in fonts that have its characters.

What no font here has is written in ASCII: 狗 as Gou, 🐶 as :dog:.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

FONT_SIZE = 12
LINE_HEIGHT = 14
ELLIPSIS = "..."


def wrap(label: str, max_width: float, max_lines: int) -> list[str]:
    """Break a label into lines that fit, the last one ending in an ellipsis if more would follow.

    Args:
        label: Any text; its own line breaks are kept.
        max_width: Pixels.
        max_lines: Most lines.

    Returns:
        At least one line, of characters that `draw_line` can draw.
    """
    paragraphs = map(_drawable, label.splitlines() or [""])
    wrapped = (line for text in paragraphs for line in _wrap_paragraph(text, max_width))
    lines = list(islice(wrapped, max_lines + 1))
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and _width(last + ELLIPSIS) > max_width:
        last = last[:-1]
    return [*lines[: max_lines - 1], last + ELLIPSIS]


def draw_line(draw: "ImageDraw", left: float, top: float, line: str) -> None:
    """Draw a line of `wrap` in black."""
    baseline = top + _plain_font().getmetrics()[0]
    for text, font in _runs(line):
        draw.text((left, baseline), text, fill="black", font=font, anchor="ls")
        left += font.getlength(text)


def _wrap_paragraph(text: str, max_width: float) -> Iterator[str]:
    if _width(text) <= max_width:
        yield text
        return
    line = ""
    for word in text.split():
        if _width(f"{line} {word}".lstrip()) <= max_width:
            line = f"{line} {word}".lstrip()
            continue
        if line:
            yield line
        line = ""
        for character in word:  # a word of its own line, or of several
            if line and _width(line + character) > max_width:
                yield line
                line = ""
            line += character
    yield line


def _width(line: str) -> float:
    return sum(font.getlength(text) for text, font in _runs(line))


def _runs(line: str) -> Iterator[tuple[str, "FreeTypeFont"]]:
    """Split a line where the font changes; a word with other signs than ASCII has another font."""
    fonts = [
        _plain_font() if word.isascii() else _font_with(character) or _plain_font()
        for word in re.findall(r"\s+|\S+", line)
        for character in word
    ]
    for font, run in groupby(zip(fonts, line, strict=True), key=lambda pair: pair[0]):
        yield "".join(character for _, character in run), font


def _drawable(text: str) -> str:
    """Replace what has no glyph: control characters by a space, others by their ASCII spelling."""
    composed = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in composed)
    if spaced.isascii():
        return spaced
    from anyascii import anyascii

    return "".join(
        sign if sign.isascii() or _font_with(sign) else anyascii(sign) for sign in spaced
    )


@cache
def _plain_font() -> "FreeTypeFont":
    from PIL import ImageFont

    font = ImageFont.load_default(size=FONT_SIZE)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@cache
def _font_with(character: str) -> "FreeTypeFont | None":
    """Find a font that draws a character: DejaVu Sans, which matplotlib has, or one of the system."""
    for path in _font_files():
        if ord(character) not in _code_points(path):
            continue
        font = _load_font(path)
        if font is not None and font.getmask(character).getbbox() is not None:
            return font
    return None


def _font_files() -> Iterator[Path]:
    import matplotlib

    yield Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    yield from _system_fonts()


@cache
def _system_fonts() -> list[Path]:
    from matplotlib.font_manager import findSystemFonts

    found = [Path(name) for name in findSystemFonts() if "lastresort" not in name.lower()]
    return sorted(found, key=lambda path: ("regular" not in path.stem.lower(), path))


@cache
def _code_points(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):  # a damaged file among the system's
        return frozenset()


@cache
def _load_font(path: Path) -> "FreeTypeFont | None":
    from PIL import ImageFont

    try:
        return ImageFont.truetype(path, FONT_SIZE)
    except OSError:  # a font of pictures, which come in one other size
        return None
