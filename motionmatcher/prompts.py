"""Prompts as the user gave them, and what is lost of them on their way, in notes."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from motionmatcher.errors import UserError
from motionmatcher.text_files import read_text, shorten


def read_prompts(file: Path) -> list[str]:
    """Read a file of prompts, one a line; blank lines are left out.

    Raises:
        UserError: It is not to be read, or has no prompt.
    """
    lines = read_text(file, f"--prompts {file}").split("\n")
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise UserError(f"--prompts {file} has no prompt: expected one a line.")
    return prompts


def repetition_notes(prompts: Iterable[str], consequence: str) -> list[str]:
    """Say of each prompt that is given several times what comes of it."""
    return [
        f'the prompt "{shorten(prompt)}" is given {count} times: {consequence}.'
        for prompt, count in Counter(prompts).items()
        if count > 1
    ]


def cut_off_note(
    prompt: str, token_ids: Sequence[int], max_tokens: int, decode: Callable[[Sequence[int]], str]
) -> str | None:
    """Say what a text encoder does not read of a prompt that is too long for it.

    Args:
        prompt: The prompt.
        token_ids: All its tokens, from the start token to the end token.
        max_tokens: Tokens that the text encoder reads, these two among them.
        decode: Turns tokens back into text.

    Returns:
        None when everything is read.
    """
    if len(token_ids) <= max_tokens:
        return None
    left_out = " ".join(decode(token_ids[max_tokens - 1 : -1]).split())
    return f'of the prompt "{shorten(prompt)}" only {max_tokens} tokens are read; left out: "{left_out}"'
