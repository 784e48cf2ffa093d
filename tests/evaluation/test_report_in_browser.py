"""The report page in a real browser: Debian's Chromium, which plays H.264."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import NEEDS_BROWSER, open_browser, resize
from small_models import Motion

from evaluation.controls import score_controls
from evaluation.folders import OutputFolder, OutputVideo, ReferenceVideo
from evaluation.metrics import CLIP_T, MOTION_METRICS
from evaluation.motion_scorer import MotionScorer
from evaluation.report import write_report
from evaluation.report_data import clip_data_uri
from evaluation.scoring import ScoredFolder, ScoredVideo, Scores
from motionmatcher.clips.video import Frames, read_video, write_mp4
from motionmatcher.tracking.flow_tracker import FlowTracker

pytest.importorskip("selenium", reason="selenium is not installed")

pytestmark = NEEDS_BROWSER

SIZE, FRAMES, FPS = 64, 8, 8
HOSTILE = "</script><img src=x onerror=\"document.title='broken in'\">"


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory,
    render: Callable[..., Frames],
    similarity: Callable[..., Motion],
) -> str:
    """A page of a reference and two folders with two and one videos, at its file URL."""
    folder = tmp_path_factory.mktemp("report")

    def pan(speed: float) -> Frames:
        motions = [similarity(SIZE, pan=(speed * frame, 0.0)) for frame in range(FRAMES)]
        return render(SIZE, motions, [(10.0, 4.0 * frame) for frame in range(FRAMES)], 20)

    reference = pan(2.0)
    scorer = MotionScorer(FlowTracker(grid_size=8), reference)
    folders, uris = [], {}
    for name, speeds in (("ours", (1.0, 3.0)), ("theirs", (-2.0,))):
        scored = []
        for index, speed in enumerate(speeds):
            path = folder / name / f"clip-{index}.mp4"
            write_mp4(path, pan(speed), FPS)
            uris[path] = clip_data_uri(read_video(path)[0], FRAMES / FPS)
            scores = scorer.score(pan(speed))
            values = {**scores.values, CLIP_T.name: 0.2 + 0.01 * speed}
            scores = dataclasses.replace(scores, values=values)
            scored.append(ScoredVideo(OutputVideo(path, f"{HOSTILE} {name}", index), scores))
        opened = OutputFolder(folder / name, tuple(item.video for item in scored))
        folders.append(ScoredFolder(opened, tuple(scored)))
    results = Scores(
        [CLIP_T, *MOTION_METRICS], scorer.settings, folders, score_controls(scorer, reference)
    )
    file = folder / "report.html"
    clip = ReferenceVideo(folder / "reference.mp4", reference, FPS)
    write_report(file, results, clip, scorer.reference, uris)
    return file.as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.set_script_timeout(30)
        yield driver


@pytest.fixture
def browser(driver: Any, page: str) -> Iterator[Any]:
    """The page, freshly opened at desktop width with all videos loaded; no error may be logged."""
    resize(driver, 1280, 900)
    driver.get(page)
    wait_for(driver, "[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)")
    yield driver
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def wait_for(driver: Any, condition: str) -> None:
    """Wait in the page until a JavaScript expression is true."""
    driver.execute_async_script(
        f"const done = arguments[0]; (function look() {{ ({condition}) ? done() : "
        "setTimeout(look, 20); })();"
    )


def scrub(driver: Any, frame: int) -> None:
    driver.execute_script(
        "const s = document.getElementById('scrub'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'));",
        frame,
    )
    wait_for(driver, "[...document.querySelectorAll('video')].every((v) => !v.seeking)")


def video_times(driver: Any) -> list[float]:
    return driver.execute_script(
        "return [...document.querySelectorAll('video')].map((v) => v.currentTime)"
    )


def press(driver: Any, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(key).perform()


def column(driver: Any, index: int, table: str = "summary") -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        ".map((row) => row.children[arguments[1]].dataset.value)",
        table,
        index,
    )


def test_every_clip_loads_with_equal_length(browser: Any) -> None:
    videos = browser.execute_script(
        "return [...document.querySelectorAll('video')].map((v) => [v.duration, v.videoWidth])"
    )
    assert len(videos) == 4
    assert all(duration == pytest.approx(FRAMES / FPS, abs=0.01) for duration, _ in videos)
    assert all(width == 3 * SIZE for _, width in videos)


def test_scrubbing_moves_all(browser: Any) -> None:
    for frame in (6, 2):
        scrub(browser, frame)
        assert video_times(browser) == pytest.approx([(frame + 0.5) / FPS] * 4, abs=1e-3)
        assert browser.find_element("id", "frame").text == f"{frame + 1} / {FRAMES}"


def test_play_and_pause_keep_all_in_step(browser: Any) -> None:
    browser.execute_script("document.getElementById('clips').scrollIntoView()")
    browser.find_element("id", "play").click()
    wait_for(browser, "document.querySelector('video').currentTime > 0.3")  # it plays
    assert not browser.execute_script("return document.querySelector('video').paused")
    assert browser.find_element("id", "play").get_attribute("aria-label") == "Pause"
    browser.find_element("id", "play").click()
    wait_for(
        browser, "[...document.querySelectorAll('video')].every((v) => v.paused && !v.seeking)"
    )
    times = video_times(browser)  # anywhere by now: the clips loop
    assert times == pytest.approx([times[0]] * 4, abs=1e-3)


def test_tracks_are_drawn_and_can_be_hidden(browser: Any) -> None:
    scrub(browser, 4)
    painted = (
        "return [...document.querySelectorAll('canvas')].map((c) => c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.some((value) => value > 0))"
    )
    assert browser.execute_script(painted) == [True] * 4
    browser.find_element("id", "tracks").click()
    assert browser.execute_script(painted) == [False] * 4


def test_tables_sort_both_ways_and_keep_missing_values_last(browser: Any) -> None:
    headings = browser.find_elements("css selector", "#summary thead button")
    headings[3].click()
    values = [float(value) for value in column(browser, 3)]
    assert values == sorted(values)
    headings[3].click()
    values = [float(value) for value in column(browser, 3)]
    assert values == sorted(values, reverse=True)
    assert headings[3].find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    headings[2].click()  # the controls have no CLIP-T
    texts = column(browser, 2)
    assert [text == "" for text in texts] == [False] * 2 + [True] * 6
    assert float(texts[0]) < float(texts[1])
    headings[0].click()
    names = column(browser, 0)  # the controls' begin with "reference"
    assert (names[0], names[-1]) == ("ours", "theirs")


def test_charts_and_comparison_are_drawn(browser: Any) -> None:
    counts = browser.execute_script(
        "return [...document.querySelectorAll('.charts')].map((c) =>"
        " c.querySelectorAll('svg path.path').length)"
    )
    assert counts == [4, 4, 4]  # camera and objects, output and reference
    comparison = browser.find_element("id", "comparison")
    assert comparison.is_displayed()
    assert len(comparison.find_elements("css selector", "circle.mean")) == 2
    broken = "return document.querySelector('svg').outerHTML.includes('NaN')"
    assert not browser.execute_script(broken)


def test_keyboard_alone_is_enough(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    press(browser, Keys.ARROW_RIGHT)
    press(browser, Keys.ARROW_RIGHT)
    assert browser.find_element("id", "frame").text == f"3 / {FRAMES}"
    press(browser, Keys.ARROW_LEFT)
    assert browser.find_element("id", "frame").text == f"2 / {FRAMES}"
    press(browser, " ")
    assert browser.find_element("id", "play").get_attribute("aria-label") == "Pause"
    press(browser, " ")
    assert browser.find_element("id", "play").get_attribute("aria-label") == "Play"

    reached = []
    for _ in range(60):
        press(browser, Keys.TAB)
        active = browser.switch_to.active_element
        reached.append(active.get_attribute("id") or active.tag_name)
        if reached[-1] == "tracks":
            break
    assert reached[0] == "a"  # past the table, to the clips
    assert [name for name in reached if name in ("play", "scrub", "tracks")] == [
        "play",
        "scrub",
        "tracks",
    ]
    assert reached.count("button") >= 1 + 1 + len(MOTION_METRICS) + 1  # every heading of the table
    browser.find_element("css selector", "#summary thead th:nth-child(4) button").send_keys(
        Keys.ENTER
    )
    values = [float(value) for value in column(browser, 3)]
    assert values == sorted(values)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)], ids=["phone", "desktop"])
def test_readable_at_any_width(browser: Any, width: int, height: int) -> None:
    resize(browser, width, height)
    wait_for(browser, f"window.innerWidth === {width}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, p, .screen, #player > *')]"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth + 1"
        " || (e.clientWidth && e.scrollWidth > e.clientWidth + 1)).map((e) => e.outerHTML)"
    )
    assert outside == []
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('#play, #scrub')]"
        ".map((e) => e.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 44  # a finger's width


def test_hostile_text_is_shown_and_does_nothing(browser: Any) -> None:
    shown = [element.text for element in browser.find_elements("css selector", ".prompt")]
    assert shown == [f"{HOSTILE} ours", f"{HOSTILE} ours", f"{HOSTILE} theirs"]
    assert browser.title == "Motion report: reference.mp4"
    assert browser.find_elements("tag name", "img") == []


def test_only_the_pages_own_script_may_run(driver: Any, page: str, tmp_path: Path) -> None:
    """Even markup that got in unescaped would be stopped by the page's policy."""
    from pathlib import Path
    from urllib.parse import unquote, urlparse

    text = Path(unquote(urlparse(page).path)).read_text()
    smuggled = "<script>document.title = 'broken in'</script>"
    (tmp_path / "attacked.html").write_text(text.replace("</main>", f"{smuggled}</main>"))
    driver.get((tmp_path / "attacked.html").as_uri())
    assert driver.title == "Motion report: reference.mp4"
    refused = [entry["message"] for entry in driver.get_log("browser")]
    assert any("Content Security Policy" in message for message in refused)


def test_clips_show_different_pictures_of_the_same_frame(browser: Any) -> None:
    """What is decoded is what was written: the frames of a clip differ, and so do the clips."""
    grab = (
        "const [v] = [...document.querySelectorAll('video')].slice(arguments[0]);"
        "const c = document.createElement('canvas'); c.width = c.height = 16;"
        "const x = c.getContext('2d'); x.drawImage(v, 0, 0, 16, 16);"
        "return [...x.getImageData(0, 0, 16, 16).data]"
    )
    pictures = {}
    for frame in (0, 7):
        scrub(browser, frame)
        for clip in (0, 3):
            pictures[frame, clip] = np.array(browser.execute_script(grab, clip), float)
    for first, second in (((0, 0), (7, 0)), ((0, 3), (7, 3)), ((7, 0), (7, 3))):
        assert np.abs(pictures[first] - pictures[second]).mean() > 3
