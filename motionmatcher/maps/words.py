"""The words of a prompt, and the tokens that each is read as."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from motionmatcher.bases.texts import TextEncoder
from motionmatcher.errors import UserError, did_you_mean

# Letters and digits, with what joins them: top-left, doesn't.
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True)
class Word:
    """A word of a prompt, or several in a row.

    Attributes:
        text: As the prompt has it first.
        tokens: Places of its tokens among the prompt's own, wherever it stands.
    """

    text: str
    tokens: tuple[int, ...]


def find_words(text: type[TextEncoder], tokenizer: Any, prompt: str) -> list[Word]:
    """List the different words of a prompt that the text encoder reads, in order.

    Args:
        text: The kind of text encoder.
        tokenizer: Its own, of `read_tokenizer`.
        prompt: What it encodes; words that are cut off are left out.
    """
    cleaned = text.clean(prompt)
    texts = {match[0].casefold(): match[0] for match in reversed(list(_WORD.finditer(cleaned)))}
    spans = _token_spans(tokenizer, cleaned)
    words = [Word(shown, _tokens_of(shown, cleaned, spans)) for shown in texts.values()]
    return sorted((word for word in words if word.tokens), key=lambda word: word.tokens)


def choose_words(
    asked: Sequence[str], text: type[TextEncoder], tokenizer: Any, prompt: str
) -> list[Word]:
    """Find words, or several in a row, in a prompt; whether letters are large does not count.

    Args:
        asked: The words.
        text: As of `find_words`, like the others.
        tokenizer: Its own.
        prompt: What it encodes.

    Raises:
        UserError: A word is not in the prompt, or is cut off; names those there are.
    """
    cleaned = text.clean(prompt)
    spans = _token_spans(tokenizer, cleaned)
    chosen = []
    for each in asked:
        wanted = " ".join(each.split())
        tokens = _tokens_of(wanted, cleaned, spans) if wanted else ()
        if not tokens:
            known = [word.text for word in find_words(text, tokenizer, prompt)]
            raise UserError(
                f"'{each}' is no word that is read of the reference's prompt: expected one, or several "
                f"in a row, of: {', '.join(known) or 'none'}.{did_you_mean(each, known)}"
            )
        chosen.append(Word(wanted, tokens))
    return chosen


def _token_spans(tokenizer: Any, cleaned: str) -> list[tuple[int, int]]:
    """Where the prompt's own tokens stand in it, as encoding cuts them off; special ones are empty."""
    encoded = tokenizer(
        cleaned,
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_offsets_mapping=True,
    )
    spans: list[tuple[int, int]] = encoded.offset_mapping
    return spans


def _tokens_of(word: str, cleaned: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """List the tokens that have a letter of a word, wherever it stands."""
    pattern = r"\s+".join(map(re.escape, word.split()))
    places = [
        match.span()
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", cleaned, flags=re.IGNORECASE)
    ]
    return tuple(
        token
        for token, (start, end) in enumerate(spans)
        if any(max(start, first) < min(end, last) for first, last in places)
    )
