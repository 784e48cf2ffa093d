"""The tokenizer of Moving Shapes: CLIP's byte-pair encoding with a vocabulary of a few words."""

from collections import Counter
from itertools import pairwise

from transformers import CLIPTokenizer

from testbed.captions import GRAMMAR
from testbed.renderer import BACKGROUND_COLORS, BACKGROUND_STYLES, OBJECT_COLORS, SHAPES

MAX_TOKENS = 32
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def caption_words() -> list[str]:
    """List every word a caption can have, in a fixed order."""
    words = [*GRAMMAR.split(), *OBJECT_COLORS, *SHAPES, *BACKGROUND_STYLES, *BACKGROUND_COLORS]
    return sorted(set(words))


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges (arXiv:1508.07909) until each word is one token.

    The library's own learner breaks ties differently from run to run; here the first pair in
    alphabetical order wins.

    Args:
        words: Distinct words.

    Returns:
        The pairs to merge, in order.
    """
    split = [[*word[:-1], word[-1] + _WORD_END] for word in words]
    merges = []
    while pairs := Counter(pair for symbols in split for pair in pairwise(symbols)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = [_merge(symbols, best) for symbols in split]
    return merges


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def build_tokenizer() -> CLIPTokenizer:
    """Make a CLIP tokenizer in which each word of the captions is one token.

    Any other text still has tokens, those of its bytes, as with CLIP's own vocabulary.

    Returns:
        The tokenizer; prompts are padded to 32 tokens with the end token.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    merges = learn_merges(caption_words())
    tokens = alphabet + [byte + _WORD_END for byte in alphabet]
    tokens += [left + right for left, right in merges]
    tokens = [*dict.fromkeys(tokens), _START, _END]  # the end token last, as in CLIP
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        model_max_length=MAX_TOKENS,
    )
