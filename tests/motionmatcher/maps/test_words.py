"""Words and their tokens, by a CLIP tokenizer of whole words and a T5 tokenizer of single letters."""

from typing import Any

import pytest
from launching import PROJECT

from motionmatcher.bases.t5_text import T5Text
from motionmatcher.bases.texts import ClipText
from motionmatcher.errors import UserError
from motionmatcher.maps.words import Word, choose_words, find_words
from testbed.random_base import write_random_wan

PROMPT = "A red  circle, top-left circle"


@pytest.fixture(scope="module")
def clip_tokenizer() -> Any:
    return ClipText.read_tokenizer(PROJECT / "models" / "moving_shapes" / "tokenizer", 32)


@pytest.fixture(scope="module")
def t5_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_random_wan(tmp_path_factory.mktemp("wan"))
    return T5Text.read_tokenizer(folder / "tokenizer", 512)


def test_words_of_clip_s_tokens(clip_tokenizer: Any) -> None:
    # <start> a red circle , top - left circle <end>
    assert find_words(ClipText, clip_tokenizer, PROMPT) == [
        Word("A", (1,)),
        Word("red", (2,)),
        Word("circle", (3, 8)),
        Word("top-left", (5, 6, 7)),
    ]


def test_words_of_t5_s_tokens(t5_tokenizer: Any) -> None:
    # _ A _ r e d _ c i r c l e , _ t o p - l e f t _ c i r c l e </s>; "_" begins the word that follows.
    assert find_words(T5Text, t5_tokenizer, PROMPT) == [
        Word("A", (0, 1)),
        Word("red", (2, 3, 4, 5)),
        Word("circle", (*range(6, 13), *range(23, 30))),
        Word("top-left", tuple(range(14, 23))),
    ]


def test_a_prompt_is_mended_as_encoding_mends_it(t5_tokenizer: Any) -> None:
    assert find_words(T5Text, t5_tokenizer, " cafÃ© \n") == [Word("café", (0, 1, 2, 3, 4))]


def test_several_words_in_a_row_are_one(clip_tokenizer: Any) -> None:
    asked = ["RED circle", "circle"]
    chosen = choose_words(asked, ClipText, clip_tokenizer, PROMPT)
    assert chosen == [Word("RED circle", (2, 3)), Word("circle", (3, 8))]


@pytest.mark.parametrize("asked", ["circ", "circles", "left circle, red", " ", "red top"])
def test_a_word_that_is_not_there_is_refused(asked: str, clip_tokenizer: Any) -> None:
    with pytest.raises(UserError) as refused:
        choose_words([asked], ClipText, clip_tokenizer, PROMPT)
    expected = (
        f"'{asked}' is no word that is read of the reference's prompt: expected one, or several in a row, "
        "of: A, red, circle, top-left."
    )
    assert str(refused.value).startswith(expected)


def test_a_word_that_is_cut_off_is_not_there(clip_tokenizer: Any) -> None:
    # 32 tokens: <start>, 30 words, <end>.
    prompt = "a " * 30 + "circle"
    assert find_words(ClipText, clip_tokenizer, prompt) == [Word("a", tuple(range(1, 31)))]
    with pytest.raises(UserError, match="'circle' is no word that is read"):
        choose_words(["circle"], ClipText, clip_tokenizer, prompt)
