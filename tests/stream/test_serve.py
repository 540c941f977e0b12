"""The page of a watch in a real browser: what happens is seen, early and late, until SIGTERM or Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from browser import browser
from films import BRIGHT, DARK, y4m
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from told import MAIN, Line, built, of

from hasten import Bundle
from hasten.cli import INTERRUPTED
from hasten.serve.server import Server

HOSTILE = "<b>&amp;'pipe"  # a file may be called so
SHADE = """const c = document.createElement('canvas'), p = document.querySelector('.picture'); c.width = c.height = 1;
const g = c.getContext('2d'); g.drawImage(p, 0, 0, 1, 1); return g.getImageData(0, 0, 1, 1).data[0];"""


class Lamp(threading.Thread):
    """Writes frames into a pipe at the pace of a camera, as bright as it is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        os.mkfifo(path)
        self.path, self.luma, self.off = path, DARK, threading.Event()

    def run(self) -> None:
        with self.path.open("wb", buffering=0) as pipe, suppress(BrokenPipeError):
            began = time.monotonic()
            for i, part in enumerate(y4m(120, lambda t: self.luma)):
                if self.off.wait(max(0.0, began + i / 60 - time.monotonic())):
                    return
                pipe.write(part)


class Running:
    """`hasten watch --serve` as a process of its own, on a lamp."""

    def __init__(self, bundle: Bundle, place: Path, *more: str) -> None:
        self.lamp, self.out = Lamp(place / HOSTILE), place / "out.jsonl"
        self.lamp.start()
        words = ["watch", str(bundle.folder), str(self.lamp.path), "--jsonl", str(self.out), "--serve", "0", *more]
        self.process = subprocess.Popen([sys.executable, "-c", MAIN, *words], stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        for line in self.process.stderr or ():
            self.said.append(line)
            if line.startswith("the page is "):
                break
        else:
            pytest.fail("".join(self.said))
        self.url = self.said[-1].split()[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.lamp.off.set()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()

    def end(self, number: int, code: int) -> list[Line]:
        """By a signal; the lines that it has written."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == code, "".join(self.said) + said
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


def until(driver: WebDriver, script: str) -> Any:
    """What a script of the page returns as soon as it is something."""
    return WebDriverWait(driver, 30, 0.05).until(lambda d: d.execute_script(f"return {script}"))


def cells(driver: WebDriver) -> list[list[str]]:
    return [
        [c.text for c in row.find_elements(By.TAG_NAME, "td")]
        for row in driver.find_elements(By.CSS_SELECTOR, ".events tr")
    ]


def figures(driver: WebDriver) -> list[str]:
    """Those of one moment."""
    return driver.execute_script(
        "return ['fps', 'factor', 'p50', 'p99', 'dropped'].map(n => document.querySelector('.' + n).textContent)"
    )


def text(driver: WebDriver, name: str) -> str:
    return driver.find_element(By.CLASS_NAME, name).text


@pytest.fixture(params=["python", "cpp"])
def more(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "python":
        return ()
    built()
    return ("--cpp",)


def test_a_browser_sees_what_happens(bundle: Bundle, driver: WebDriver, tmp_path: Path, more: tuple[str, ...]) -> None:
    """The light goes on: picture, trace and an event that lasts; off: it has ended. Who comes late sees it too."""
    with Running(bundle, tmp_path, *more) as run:
        seen(driver, run, not more)


def seen(driver: WebDriver, run: Running, pictures: bool) -> None:
    driver.get("about:blank")
    driver.get_log("browser")  # of pages whose watch has ended
    driver.get(run.url)
    until(driver, "document.querySelectorAll('.trace path.class').length")
    assert text(driver, "place") == str(run.lamp.path)
    assert not driver.find_elements(By.CSS_SELECTOR, "h2 b")
    assert text(driver, "badge") == "opened"
    if pictures:
        until(driver, "document.querySelector('.picture')?.naturalWidth == 64")
        assert driver.execute_script(SHADE) < 100

    run.lamp.luma = BRIGHT
    until(driver, "document.querySelector('.events tr.lasts')")
    assert [row[1] for row in cells(driver)] == ["bright"]
    assert cells(driver)[0][3:5] == ["lasts", ""]
    assert float(cells(driver)[0][5]) > 0
    if pictures:
        WebDriverWait(driver, 30, 0.05).until(lambda d: d.execute_script(SHADE) > 150)
    else:
        assert "without --cpp" in text(driver, "no-picture")
    assert driver.find_element(By.CLASS_NAME, "picture").is_displayed() == pictures
    assert [text(driver, "name-on"), text(driver, "name-off")] == ["begins at 0.7", "ends below 0.3"]

    run.lamp.luma = DARK
    until(driver, "document.querySelector('.events tr:not(.lasts)')")
    (told,) = cells(driver)
    trace(driver)
    until(driver, "document.querySelector('.count').textContent == '1'")
    fps, factor, p50, p99, dropped = (float(t) for t in figures(driver))
    assert fps > 5
    assert factor == pytest.approx(fps / 60, rel=0.2, abs=0.05)
    assert p50 <= p99
    assert dropped == 0

    driver.switch_to.new_window("tab")  # late, while the first one is hidden
    driver.get(run.url)
    until(driver, "document.querySelector('.events tr')")
    until(driver, "document.querySelectorAll('.trace path.class').length")
    assert cells(driver) == [told]
    trace(driver)
    lines = run.end(*((signal.SIGTERM, 0) if pictures else (signal.SIGINT, INTERRUPTED)))
    until(driver, "document.getElementById('state').textContent == 'the watch has ended'")
    assert text(driver, "badge") == "stopped"
    assert [entry["message"] for entry in driver.get_log("browser")] == []
    driver.close()
    driver.switch_to.window(driver.window_handles[0])
    assert [x["kind"] for x in lines] == ["source", "begin", "event", "end"]
    (event,) = of(lines, "event")
    assert told[1:5] == ["bright", *(f"{event[k] / 1e9:.2f}" for k in ("begin", "end")), f"{event['peak']:.2f}"]


def test_a_watch_that_dies_is_said(bundle: Bundle, driver: WebDriver, tmp_path: Path) -> None:
    with Running(bundle, tmp_path) as run:
        driver.get(run.url)
        until(driver, "document.querySelector('.picture')?.naturalWidth")
        run.process.kill()
        until(driver, "document.querySelector('#state.lost')")
    assert "does not answer" in driver.find_element(By.ID, "state").text
    driver.get("about:blank")


def test_a_clock_that_is_set_back_begins_the_trace_anew(driver: WebDriver) -> None:
    """Behind a gap too; and an event whose peak is no number has a row as any other."""
    video = Path(__file__).parents[2] / "spec" / "golden" / "video"
    with Server(0, video, ["a"], pictures=False) as server:

        def tell(kind: str, **fields: object) -> None:
            server.tell({"kind": kind, "source": "a", **fields})

        driver.get("about:blank")
        driver.get_log("browser")  # of pages whose watch has ended
        driver.get(server.url)
        tell("window", end=100 * 10**9, coverage=1.0, scores=[0.1])
        until(driver, "sources.get('a')?.windows.length == 1")
        tell("gap", **{"from": 100 * 10**9, "to": 10**9, "untrusted": 0})
        tell("event", name="bright", label=0, begin=10**9, end=2 * 10**9, peak=None, peak_time=10**9, coverage=1.0)
        until(driver, "document.querySelector('.events tr')")
        tell("window", end=2 * 10**9, coverage=1.0, scores=[0.1])
        until(driver, "sources.get('a').windows.at(-1)?.end == 2e9")
        assert driver.execute_script("return sources.get('a').windows.length") == 1
        assert cells(driver)[0][4] == "\u2013"
        assert [entry["message"] for entry in driver.get_log("browser")] == []
        driver.get("about:blank")


def trace(driver: WebDriver) -> None:
    """The line of the only class went from below the bounds to above them, which are where they should be."""
    until(driver, "document.querySelector('.trace path.class').getAttribute('d').split('L').length > 10")
    d, bounds = driver.execute_script("""const t = document.querySelector('.trace');
        return [t.querySelector('path.class').getAttribute('d'),
                [...t.querySelectorAll('.bound')].map(b => [Number(b.dataset.score), Number(b.getAttribute('y1'))])]""")
    heights = [float(point.split()[1]) for point in d.replace("M", "L").split("L")[1:]]
    places = dict(bounds)
    assert places.keys() == {0.7, 0.3}
    assert min(heights) < places[0.7] < places[0.3] < max(heights)
