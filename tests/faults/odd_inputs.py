"""What a fuzzed input is made of: odd texts, numbers and structures, and settings spoilt by them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hypothesis import strategies as st

from motionmatcher.config.settings import TrainSettings

ODD_TEXTS = (
    *(
        "",
        " ",
        "\n",
        "\t",
        "\0",
        "\x1b[2J",
        "\u2028",
        "\ufeff",
        "\ud800",
        "é狗🐶",
        "a\nb",
        "a\r\nb",
    ),
    *("../../x", "~", "~nobody/x", "/proc/self/mem", "/dev/null/x", "a/b", "n" * 300, "x" * 5000),
    *(
        "null",
        "???",
        "yes",
        "1e400",
        "0x10",
        "1_000",
        "12:30",
        "2026-01-01",
        ".inf",
        ".nan",
        "9" * 400,
    ),
    *(
        "${oc.env:NOPE}",
        "${seed}",
        "${",
        "!!int x",
        "!!python/object:os.system x",
        "&a b",
        "*a",
        "<<: 1",
    ),
    *(
        "[",
        "[" * 3000,
        "{",
        "}",
        "'",
        '"',
        "|",
        ">",
        "%",
        "@",
        "-",
        "--",
        "---",
        "x #y",
        "#",
        "a: b",
        ": ",
    ),
    *(
        "<script>alert(1)</script>",
        "</script>",
        "A dog runs.",
        "cat",
        "latest",
        "no",
        "fp16",
        "ddim",
    ),
)
ODD_NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    7,
    8,
    16,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    1e-320,
    0.5,
    1e38,
    1e300,
)

texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
numbers = st.sampled_from(ODD_NUMBERS) | st.integers() | st.floats()
scalars = st.none() | st.booleans() | numbers | texts
structures = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def _dotted_keys(settings_class: Any = TrainSettings, prefix: str = "") -> list[str]:
    keys = []
    for name, annotation in get_type_hints(settings_class).items():
        keys.append(f"{prefix}{name}")
        if is_dataclass(annotation):
            assert fields(annotation)
            keys += _dotted_keys(annotation, f"{prefix}{name}.")
    return keys


KEYS = _dotted_keys()
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), texts)


def with_value(values: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Set one dotted key of nested mappings; what is no mapping on the way is replaced."""
    name, _, rest = dotted.partition(".")
    if not rest:
        return {**values, name: value}
    group = values.get(name)
    return {**values, name: with_value(group if isinstance(group, Mapping) else {}, rest, value)}


@st.composite
def spoilt_values(draw: st.DrawFn, values: Mapping[str, Any]) -> dict[str, Any]:
    """Good settings with one or two keys replaced or taken away."""
    spoilt = dict(values)
    for dotted in draw(st.lists(keys, min_size=1, max_size=2)):
        spoilt = with_value(spoilt, dotted, draw(structures))
    for name in draw(st.lists(st.sampled_from(sorted(values)), max_size=1)):
        spoilt.pop(name, None)
    return spoilt


@st.composite
def spoilt_bytes(draw: st.DrawFn, content: bytes, reach: int | None = None) -> bytes:
    """Good content cut off, or with other bytes in one place.

    Args:
        draw: Given by hypothesis.
        content: The good content.
        reach: The place is among the first so many bytes.
    """
    place = draw(st.integers(0, min(len(content), reach or len(content))))
    if draw(st.booleans()):
        return content[:place]
    odd = draw(st.binary(max_size=12) | texts.map(lambda text: text.encode("utf-8", "replace")))
    return content[:place] + odd + content[place + draw(st.sampled_from((0, len(odd)))) :]


def json_like(good: Any) -> st.SearchStrategy[Any]:
    """Good JSON with a value somewhere replaced or left out, or anything else."""
    return st.just(good).flatmap(_spoil)


def _spoil(good: Any) -> st.SearchStrategy[Any]:
    options = [structures]
    if isinstance(good, dict) and good:
        names = st.sampled_from(sorted(good))
        options += [names.map(lambda name: {key: good[key] for key in good if key != name})]
        options += [
            names.flatmap(lambda name: _spoil(good[name]).map(lambda value: {**good, name: value}))
        ] * 4
    if isinstance(good, list) and good:
        places = st.integers(0, len(good) - 1)
        options += [
            places.flatmap(
                lambda place: _spoil(good[place]).map(
                    lambda value: [*good[:place], value, *good[place + 1 :]]
                )
            )
        ] * 2
    return st.one_of(options)


def command_line(
    flags: Mapping[str, st.SearchStrategy[str] | None],
) -> st.SearchStrategy[list[str]]:
    """Lists of some of these flags, each with a value unless it takes none."""

    def with_its_value(flag: str) -> st.SearchStrategy[list[str]]:
        values = flags[flag]
        return st.just([flag]) if values is None else values.map(lambda value: [flag, value])

    some = st.lists(st.sampled_from(sorted(flags)).flatmap(with_its_value), max_size=4)
    return some.map(lambda parts: [word for part in parts for word in part])


# What a shell can pass: any bytes but NUL.
words = texts.filter(lambda text: "\0" not in text)
number_words = (numbers.map(str) | words).filter(lambda text: "\0" not in text)
