"""A real browser for tests, without a screen: Debian's Chromium, which plays H.264."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDS_BROWSER = [
    pytest.mark.skipif(
        _CHROMIUM is None or _DRIVER is None,
        reason="no browser: apt-get install chromium chromium-driver",
    ),
    # Selenium leaves closing its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def open_browser(profile: Path, *logs: str) -> Iterator[Any]:
    """Open a browser, as Selenium drives it.

    Args:
        profile: Folder for what it keeps.
        logs: Which of its logs to keep, beside the console's, "browser".
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    assert _CHROMIUM is not None
    options.binary_location = _CHROMIUM
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", dict.fromkeys(("browser", *logs), "ALL"))
    service = webdriver.ChromeService(executable_path=_DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def resize(driver: Any, width: int, height: int) -> None:
    """Give the page a size in pixels; a narrow one is a phone's."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
