"""Mutants of the pictures of attention maps: which tokens, which noise level, which heat."""

from mutation.mutant import mutants

MAPS = [
    *mutants(
        "motionmatcher/maps/words.py",
        "tests/motionmatcher/maps/test_words.py",
        {
            "a word is part of another": (r"(?<!\w){pattern}(?!\w)", "{pattern}"),
            "the next word's first token counts": (
                "if any(max(start, first) < min(end, last)",
                "if any(max(start, first) <= min(end, last)",
            ),
            "the prompt is not mended": (
                "    cleaned = text.clean(prompt)\n    texts",
                "    cleaned = prompt\n    texts",
            ),
        },
    ),
    *mutants(
        "motionmatcher/maps/reading.py",
        "tests/motionmatcher/maps/test_reading.py",
        {
            "features are read where the noise was added": (
                "features = extractor(true_latents, earlier, states)",
                "features = extractor(noisy, told, states)",
            ),
            "frames differ for other reasons": (
                "(own - usual[:, None, None]).clamp(min=0)",
                "own.clamp(min=0)",
            ),
            "attention moves from the frame before": ("return there - here", "return here - there"),
        },
    ),
    *mutants(
        "motionmatcher/maps/heat.py",
        "tests/motionmatcher/maps/test_heat.py",
        {
            "the largest value is cold": ("MOST_COVER * value", "MOST_COVER * (1 - value)"),
        },
    ),
    *mutants(
        "motionmatcher/maps/drawing.py",
        "tests/motionmatcher/maps/test_drawing.py",
        {
            "the words that vary least are drawn": ("key=spread, reverse=True", "key=spread"),
            "the coldest tenth": (
                "heat.topk(count, dim=1)",
                "heat.topk(count, dim=1, largest=False)",
            ),
        },
    ),
]
