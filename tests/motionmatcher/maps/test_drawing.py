"""What sheets draw: which words, which frames, arrows, and how frames attend to frames."""

import numpy as np
import torch

from motionmatcher.maps.drawing import (
    ARROW_COLOUR,
    MAX_WORDS,
    Row,
    animate,
    arrows,
    choose_most_varied,
    frame_matrices,
)
from motionmatcher.maps.heat import FRAME_HEIGHT
from motionmatcher.maps.reading import ReferenceMaps
from motionmatcher.maps.words import Word
from motionmatcher.maps.writing import frames_of_latents


def test_the_words_that_vary_most_are_drawn_in_the_prompt_s_order() -> None:
    # The words' shares differ between two places by 1, 7, 6, 5, 4, 3, 2 and 9 percent.
    steps = torch.tensor([1.0, 7, 6, 5, 4, 3, 2, 9]) / 100
    cross = torch.stack([torch.zeros(8), steps]).reshape(1, 1, 2, 8)
    words = [Word(letter, (index,)) for index, letter in enumerate("abcdefgh")]
    chosen = choose_most_varied([ReferenceMaps(500, 0.5, 0.5, cross, None, None)], words)
    assert MAX_WORDS == 6
    assert [word.text for word in chosen] == ["b", "c", "d", "e", "f", "h"]


def test_a_latent_stands_for_the_last_of_its_frames() -> None:
    frames = (
        np.zeros((9, 2, 2, 3), np.uint8) + 10 * np.arange(9, dtype=np.uint8)[:, None, None, None]
    )
    shown = frames_of_latents(frames, 3)  # the first frame alone, then four each
    assert shown[:, 0, 0, 0].tolist() == [0, 40, 80]
    assert frames_of_latents(frames, 9)[:, 0, 0, 0].tolist() == frames[:, 0, 0, 0].tolist()


def test_an_arrow_leads_from_its_place_and_the_last_frame_has_none() -> None:
    frames = np.zeros((2, 80, 160, 3), np.uint8)
    moved = torch.zeros(1, 1, 2, 2)
    moved[0, 0, 0, 0] = 0.05  # the longest, so 0.8 of a place of 80 pixels: from 40 to 104
    first, last = arrows(frames, moved)
    assert (last == 0).all()
    drawn = np.argwhere(first[:, :112].any(axis=2))
    # Its point is at 104, and all is soft by a pixel.
    assert abs(drawn[:, 1].min() - 40) <= 1
    assert abs(drawn[:, 1].max() - 104) <= 1
    assert abs(drawn[:, 0].mean() - 40) < 1
    red, green, blue = first[40, 90].tolist()
    assert red > green > blue == ARROW_COLOUR[2]


def test_frames_attend_to_frames_over_all_places_and_over_the_hottest_tenth() -> None:
    shares = torch.zeros(2, 1, 10, 2)
    shares[..., 0], shares[..., 1] = 0.5, 0.5
    shares[0, 0, 3] = torch.tensor([0.9, 0.1])
    shares[1, 0, 7] = torch.tensor([0.3, 0.7])
    whole, moving = frame_matrices(shares)
    torch.testing.assert_close(whole, torch.tensor([[0.54, 0.46], [0.48, 0.52]]))
    torch.testing.assert_close(moving, torch.tensor([[0.9, 0.1], [0.3, 0.7]]))


def test_an_animation_shows_each_moment_of_all_rows() -> None:
    pictures = np.zeros((3, FRAME_HEIGHT, FRAME_HEIGHT, 3), np.uint8)
    pictures[1] = 200
    shown = animate([Row("one", pictures), Row("other", 255 - pictures)])
    assert len(shown) == 3
    # 18 pixels of label above each row, 4 between and at the left.
    middle = 18 + FRAME_HEIGHT // 2
    below = middle + 18 + FRAME_HEIGHT + 4
    assert shown[:, middle, 60, 0].tolist() == [0, 200, 0]
    assert shown[:, below, 60, 0].tolist() == [255, 55, 255]
