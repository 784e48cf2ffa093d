"""The page that shows the maps of a run, and says how to read them."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from motionmatcher.maps.reading import ReferenceMaps

_CROSS = (
    "Where each word has its places. The more a place attends to the word, the hotter it is; each row has "
    "its own scale, for all of its frames, from its least to its largest share, which its label says. The "
    "words drawn are those asked for, or those whose maps vary most, which the loss weighs most. A word "
    "need not see what it names: what counts for the loss is that its heat goes with the thing."
)
_SHARES = (
    "Where something comes and goes. A place looks at all frames for what it has itself; what is there for "
    "a moment alone is found in no other frame, and its attention stays in its own. Heat is how much more "
    "of it stays than at the median place of the same frame. A still clip has scattered spots only."
)
_FRAMES = (
    "How frames attend to frames: each line is a frame, its columns the frames that its attention goes to. "
    "A bright diagonal keeps to itself; a band beside it looks at the neighbours; a square elsewhere is a "
    "moment that looks alike. On the left all places, on the right the hottest tenth of each frame."
)
_FLOW = (
    "Which way things go. An arrow leads from a place to where its attention moves from its own frame to "
    "the next. It is an average over whole frames, so it moves by much less than the thing does: all "
    "arrows are lengthened alike. What noise alone moves points anywhere."
)


def make_page(name: str, prompt: str, maps: Sequence[ReferenceMaps]) -> str:
    """Write the page's HTML; its pictures lie beside it.

    Args:
        name: What the page is about.
        prompt: The reference's.
        maps: What the features see, at each timestep.
    """
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    sections = "".join(map(_section, maps))
    return template.substitute(name=escape(name), prompt=escape(prompt), sections=sections)


def _section(maps: ReferenceMaps) -> str:
    step = maps.timestep
    level = f"the reference times {maps.signal:.2f} plus noise times {maps.noise:.2f}"
    parts = [
        f"<h2>Timestep {step}: {level}</h2>",
        _figure(f"cross-attention-{step}", "Cross-attention: where things are", _CROSS),
        _figure(
            f"temporal-attention-{step}",
            "Temporal attention: what moves",
            _SHARES if maps.flow is None else _FLOW,
        ),
    ]
    if maps.flow is None:
        parts.append(
            f'<figure><img src="frames-{step}.png" alt="How frames attend to frames">'
            f"<figcaption>{_FRAMES}</figcaption></figure>"
        )
    return f"<section>{''.join(parts)}</section>"


def _figure(file: str, title: str, caption: str) -> str:
    return (
        f'<h3>{title}</h3><figure><div class="pictures"><img src="{file}.gif" alt="{title}, animated">'
        f'<img src="{file}.png" alt="{title}, frame by frame"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
