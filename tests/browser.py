"""A real browser without a window: Debian's chromium, and its driver."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.webdriver import WebDriver

from hasten import debian
from hasten.errors import MissingError

NEEDED = "the pages are looked at in a browser, and it is not here: apt-get install chromium chromium-driver"


@contextmanager
def browser(profile: Path) -> Iterator[WebDriver]:
    """
    Args:
        profile: an empty folder for what it keeps.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,1400",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(_driver()))
    try:
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


def _program(name: str) -> str:
    """Of the system; installed where that is allowed."""
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", name], capture_output=True)
    return shutil.which(name) or pytest.skip(NEEDED)


def _driver() -> str:
    try:
        found = shutil.which("chromedriver") or next(debian.unpacked("chromium-driver").rglob("chromedriver"), None)
    except MissingError:
        found = None
    return str(found) if found else pytest.skip(NEEDED)
