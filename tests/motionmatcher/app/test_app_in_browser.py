"""The window in a real browser, with the programs it starts: from a clip to a file to take away."""

import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_BROWSER, open_browser, resize
from launching import PROJECT

from motionmatcher.runs.run_folder import Run

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("gradio", reason="gradio is not installed")

pytestmark = NEEDS_BROWSER
CLIP = PROJECT / "resources" / "reference_videos" / "swing.mp4"
PATIENCE_S = 240  # all of it takes three minutes of one core
# As little work as there can be: a preview of one step, a quarter of the layers.
QUICK = "\n".join(
    ("validation_data.num_inference_steps=2", "lora_rank=1", "motion_extractor.blocks=[1]")
)
PROMPT = "-- a <b>pink</b> square ${x} ../../elsewhere"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / "outputs"


@pytest.fixture(scope="module")
def server(outputs: Path) -> Iterator[str]:
    """The window at its URL, as its command line opens it; it must end by Ctrl-C without a word."""
    command = [sys.executable, "-m", "motionmatcher.app", "--port", "0", "--outputs", str(outputs)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert url is not None, process.communicate()[1]
        yield url[0]
        process.terminate()
        assert process.wait(60) == 143


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile"), "performance") as driver:
        yield driver


@pytest.fixture
def page(driver: Any, server: str) -> Iterator[Any]:
    """The page, freshly opened; it may log no error and ask no other machine for anything."""
    resize(driver, 1280, 900)
    driver.get("about:blank")  # a page that is left logs that its stream was cut: not of this one
    driver.get_log("browser")
    driver.get(server)
    wait_for(lambda: "No run yet" in text(driver, "progress") or "step" in text(driver, "progress"))
    wait_for(lambda: field(driver, "Steps in all").get_attribute("value") != "")
    yield driver
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    asked = requests_of(driver)
    assert asked
    assert [url for url in asked if not url.startswith(server)] == []


def requests_of(driver: Any) -> list[str]:
    """Addresses on any network that pages asked for since the last look."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if url.startswith(("http", "ws", "ftp"))]


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait until something holds; what is drawn anew meanwhile is looked for again."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (NoSuchElementException, StaleElementReferenceException):
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come")


def text(driver: Any, name: str) -> str:
    return driver.find_element("id", name).get_attribute("textContent")


def field(driver: Any, label: str) -> Any:
    path = f"//label[.//span[contains(normalize-space(.), '{label}')]]//*[self::input or self::textarea]"
    return driver.find_element("xpath", path)


def fill(driver: Any, label: str, value: str) -> None:
    element = field(driver, label)
    element.clear()
    element.send_keys(value)


def upload(driver: Any, clip: Path) -> None:
    for button in driver.find_elements("css selector", "button[aria-label='Clear']"):
        button.click()
    wait_for(lambda: driver.find_element("css selector", "input[type=file]")).send_keys(str(clip))


def press(driver: Any, name: str) -> None:
    driver.execute_script("document.getElementById(arguments[0]).click()", name)


def ended(driver: Any, part: str, how: str) -> bool:
    said = text(driver, part)
    assert "error" not in said, said + text(driver, "log")
    return how in said


def open_accordions(driver: Any) -> None:
    for name in ("Other settings", "What the programs say"):
        driver.find_element("xpath", f"//button[.//span[text()='{name}']]").click()


def test_from_a_clip_to_a_file_to_take_away(page: Any, outputs: Path, tmp_path: Path) -> None:
    open_accordions(page)
    upload(page, CLIP)
    wait_for(lambda: "8 frames, 8 fps" in text(page, "findings"))
    sheet = wait_for(lambda: page.find_element("css selector", "#findings img"))
    wait_for(lambda: page.execute_script("return arguments[0].naturalWidth", sheet) > 300)
    fill(page, "What the clip shows", "a red circle on a plain white background")
    fill(page, "What else shall move so", PROMPT)
    fill(page, "Steps in all", "500")
    wait_for(lambda: page.find_element("xpath", "//label[contains(., 'key=value')]//textarea"))
    page.find_element("xpath", "//label[contains(., 'key=value')]//textarea").send_keys(QUICK)
    time.sleep(0.5)  # fields are sent a moment after they are left
    press(page, "train")
    wait_for(lambda: re.search(r"step [1-9]\d* of 500, loss", text(page, "progress")))
    wait_for(lambda: page.find_element("css selector", "#curve svg"))
    press(page, "stop")
    wait_for(lambda: ended(page, "training", "training: stopped"))
    (run,) = (Run(file.parent) for file in outputs.glob("app/runs/swing/train_*/config.yaml"))
    (stopped_at,) = run.checkpoint_steps()
    assert "interrupted after step" in text(page, "log")

    fill(page, "Steps in all", str(stopped_at + 2))
    time.sleep(0.5)
    press(page, "resume")
    wait_for(lambda: ended(page, "training", "training: finished"))
    assert run.checkpoint_steps() == [stopped_at, stopped_at + 2]
    wait_for(lambda: f"step {stopped_at + 2} of {stopped_at + 2}" in text(page, "progress"))
    wait_for(
        lambda: len(page.find_elements("css selector", "#previews video")) == 4
    )  # two prompts, before and after

    fill(page, "What to show", PROMPT)
    time.sleep(0.5)
    press(page, "generate")
    wait_for(lambda: ended(page, "videos-job", "generating: finished"))
    (video,) = wait_for(lambda: page.find_elements("css selector", "#videos video"))
    wait_for(lambda: page.execute_script("return arguments[0].videoWidth", video) == 64)
    assert PROMPT in text(page, "videos")
    press(page, "compare")
    wait_for(lambda: ended(page, "videos-job", "comparing: finished"))
    wait_for(lambda: len(page.find_elements("css selector", "#videos video")) == 3)
    wait_for(lambda: "Motion discrepancy" in text(page, "videos"))

    press(page, "pack")
    link = wait_for(lambda: page.find_element("css selector", "#packed a"))
    (pack,) = outputs.glob("app/packs/*.zip")
    assert link.text == pack.name
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(tmp_path)
    (file,) = tmp_path.glob("*/pack.json")
    assert json.loads(file.read_text())["checkpoint"] == stopped_at + 2
    assert not (outputs / ".." / "elsewhere").exists()


def test_a_refused_clip_shows_the_line_that_training_prints(
    page: Any, outputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.mp4").write_text("no video\n" * 20)
    upload(page, tmp_path / "notes.mp4")
    shown = wait_for(lambda: page.find_element("css selector", "#findings .error")).text
    kept = outputs / "app" / "clips" / "notes.mp4"
    command = [
        sys.executable,
        str(PROJECT / "train.py"),
        "--config",
        "configs/moving_shapes_wan.yaml",
    ]
    command += [f"train_data.single_video_path={kept}", "train_data.single_video_prompt=x"]
    command += [f"output_dir={tmp_path}"]
    printed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert printed.returncode == 2
    assert printed.stderr == f"{shown}\n"
    press(page, "train")
    wait_for(lambda: "error: no clip" in text(page, "train-message"))


def test_settings_that_name_a_clip_fill_the_fields(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    settings = page.find_element("css selector", "input[aria-label='Settings']")
    settings.click()
    settings.send_keys(Keys.CONTROL, "a")
    settings.send_keys("wan/config_spiral", Keys.ENTER)
    wait_for(lambda: "spiral.mp4: 8 frames" in text(page, "findings"))
    shown = field(page, "What the clip shows").get_attribute("value")
    assert shown == "a green square on a plain gray background"


def test_usable_at_phone_width(page: Any, outputs: Path) -> None:
    if any(outputs.glob("app/videos/*/*/scores.json")):  # of the test above
        wait_for(lambda: page.find_element("css selector", "#videos table"))
    resize(page, 360, 740)
    wait_for(lambda: page.execute_script("return window.innerWidth") == 360)
    wait_for(lambda: page.execute_script("return document.documentElement.scrollWidth") <= 360)
    outside = page.execute_script(
        "return [...document.querySelectorAll('button, label, input, textarea, h1, h2, p')]"
        ".filter((e) => e.getBoundingClientRect().width && (e.getBoundingClientRect().right > 361"
        " || e.getBoundingClientRect().left < -1)).map((e) => e.outerHTML.slice(0, 200))"
    )
    assert outside == []


def test_every_field_has_a_label_and_the_keyboard_reaches_every_button(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    nameless = page.execute_script(
        "return [...document.querySelectorAll('input, textarea, select')].filter((e) =>"
        " e.type !== 'file' && e.getBoundingClientRect().width && !e.getAttribute('aria-label')"
        " && ![...(e.labels || [])].some((l) => l.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert nameless == []
    wanted = {"train", "stop", "resume", "generate", "compare", "stop-videos", "pack"}
    reached = set()
    for _ in range(90):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.switch_to.active_element.get_attribute("id"))
    assert wanted - reached == set()
    page.find_element("id", "stop").send_keys(Keys.ENTER)
    wait_for(lambda: "error: nothing runs" in text(page, "train-message"))
