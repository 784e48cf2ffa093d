"""Labels show every text: wrapped, and in a font that has it, or spelt in ASCII."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from motionmatcher.clips import labels
from motionmatcher.clips.labels import draw_line, wrap


@pytest.fixture(autouse=True)
def _fonts_of_the_packages_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever fonts the machine has."""
    forget_fonts()
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    yield
    forget_fonts()


def forget_fonts() -> None:
    labels._system_fonts.cache_clear()
    labels._font_with.cache_clear()


def drawn(label: str) -> np.ndarray:
    picture = Image.new("L", (400, 18), "white")
    (line,) = wrap(label, 400, 4)
    draw_line(ImageDraw.Draw(picture), 4, 2, line)
    return np.asarray(picture)


def make_font(path: Path, characters: str) -> Path:
    """A font that draws each character as a box of another width."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    names = [".notdef", *(f"glyph{index}" for index in range(len(characters)))]
    glyphs = {}
    for index, name in enumerate(names):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 700), (300 + 100 * index, 700), (300 + 100 * index, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(sign): names[1 + i] for i, sign in enumerate(characters)})
    font.setupGlyf(glyphs)
    font.setupHorizontalMetrics(dict.fromkeys(names, (900, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.mark.parametrize("label", ["", "7: A dog runs, AV, fi.", "step 50:  two  spaces ~{}"])
def test_plain_labels_look_as_pillow_draws_them(label: str) -> None:
    expected = Image.new("L", (400, 18), "white")
    font = ImageFont.load_default(size=12)
    ImageDraw.Draw(expected).text((4, 2), label, fill="black", font=font)
    assert np.array_equal(drawn(label), np.asarray(expected))


@pytest.mark.parametrize("pair", ["éè", "жш", "狗猫", "🐶🐱", "αβ"])
def test_no_two_characters_look_the_same(pair: str) -> None:
    one, other = (drawn(f"A {sign}.") for sign in pair)
    assert not np.array_equal(one, other), "both are boxes"


def test_letters_with_accents_are_drawn_not_spelt() -> None:
    assert wrap("Un café, Бык, e\u0301", 400, 4) == ["Un café, Бык, é"]
    file = next(labels._font_files())
    assert file.name == "DejaVuSans.ttf"
    font = ImageFont.truetype(file, 12)
    picture = Image.new("L", (400, 18), "white")
    latin = ImageFont.load_default(size=12)
    assert isinstance(latin, ImageFont.FreeTypeFont)
    baseline = 2 + latin.getmetrics()[0]
    ImageDraw.Draw(picture).text((4, baseline), "café", fill="black", font=font, anchor="ls")
    assert np.array_equal(drawn("café"), np.asarray(picture))


def test_what_no_font_has_is_spelt_in_ascii() -> None:
    assert wrap("7: 狗, 🐶 et 한", 400, 4) == ["7: Gou, :dog: et Han"]


def test_a_font_of_the_system_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spelt = drawn("狗猫")
    damaged = tmp_path / "a-regular.ttf"
    damaged.write_bytes(b"no font")
    fonts = [damaged, make_font(tmp_path / "Boxes.ttf", "猫狗")]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: list(map(str, fonts)))
    forget_fonts()
    assert wrap("狗猫 🐶", 400, 4) == ["狗猫 :dog:"]
    assert not np.array_equal(drawn("狗猫"), spelt)
    assert (drawn("狗") < 128).sum() > (drawn("猫") < 128).sum(), "a box of 500 units, one of 400"


@pytest.mark.parametrize("label", ["a dog runs " * 9, "ein Bär läuft " * 9, "x" * 200, "狗" * 40])
def test_long_labels_are_wrapped_and_whole(label: str) -> None:
    lines = wrap(label, 200, 99)
    assert len(lines) > 2
    assert "".join(lines).replace(" ", "") == wrap(label, 9999, 1)[0].replace(" ", "")
    assert all(labels._width(line) <= 200 for line in lines)
    shortened = wrap(label, 200, 2)
    assert shortened[0] == lines[0]
    assert len(shortened) == 2
    assert shortened[1].endswith("...")
    assert lines[1].startswith(shortened[1].removesuffix("...").rstrip())
    assert labels._width(shortened[1]) <= 200


def test_line_breaks_stay_and_control_characters_are_blank() -> None:
    assert wrap("two\nlines\u2028three\tand\x1bmore", 400, 4) == ["two", "lines", "three and more"]
    assert wrap("a\nb\nc", 400, 2) == ["a", "b..."]
    assert wrap("", 400, 2) == [""]


def test_the_narrowest_label_ends() -> None:
    assert wrap("ab", 1, 4) == ["a", "b"]
    assert wrap("abc", 1, 2) == ["a", "..."]
