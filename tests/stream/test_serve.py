"""The page of a watch: in a real browser, opened early and late; who is refused; readers that do not read; its end."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from browser import browser
from films import BRIGHT, DARK, y4m
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from told import MAIN, Line, of

from hasten import Bundle, cpp
from hasten.cli import main
from hasten.errors import MissingError, UsageError
from hasten.serve.board import MOST_WINDOWS, TRACE_S, Board
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
        began = time.monotonic()
        with self.path.open("wb", buffering=0) as pipe, suppress(BrokenPipeError):
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
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def end(self) -> list[Line]:
        """By SIGTERM; the lines that it has written."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, "".join(self.said) + said
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def server(bundle: Bundle) -> Iterator[Server]:
    with Server(0, bundle.folder, ["a"]) as one:
        yield one


def until(driver: WebDriver, script: str) -> Any:
    """What a script of the page returns as soon as it is something."""
    return WebDriverWait(driver, 30, 0.05).until(lambda d: d.execute_script(f"return {script}"))


def cells(driver: WebDriver) -> list[list[str]]:
    return [
        [c.text for c in row.find_elements(By.TAG_NAME, "td")]
        for row in driver.find_elements(By.CSS_SELECTOR, ".events tr")
    ]


def text(driver: WebDriver, name: str) -> str:
    return driver.find_element(By.CLASS_NAME, name).text


@pytest.fixture(params=["python", "cpp"])
def more(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "python":
        return ()
    try:
        cpp.watch_program()
    except MissingError as reason:
        pytest.skip(str(reason))
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
        until(driver, "document.querySelector('.picture').naturalWidth == 64")
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

    run.lamp.luma = DARK
    until(driver, "document.querySelector('.events tr:not(.lasts)')")
    (told,) = cells(driver)
    trace(driver)
    until(driver, "document.querySelector('.count').textContent == '1'")
    assert 20 < float(text(driver, "fps")) < 100
    assert 0.3 < float(text(driver, "factor")) < 1.7
    assert float(text(driver, "p50")) <= float(text(driver, "p99"))

    driver.switch_to.new_window("tab")  # late, while the first one is hidden
    driver.get(run.url)
    until(driver, "document.querySelector('.events tr')")
    until(driver, "document.querySelectorAll('.trace path.class').length")
    assert cells(driver) == [told]
    trace(driver)
    lines = run.end()
    until(driver, "document.getElementById('state').textContent == 'the watch has ended'")
    assert text(driver, "badge") == "stopped"
    assert [entry["message"] for entry in driver.get_log("browser")] == []
    driver.close()
    driver.switch_to.window(driver.window_handles[0])
    assert [x["kind"] for x in lines] == ["source", "begin", "event", "end"]
    (event,) = of(lines, "event")
    assert told[1:5] == ["bright", *(f"{event[k] / 1e9:.2f}" for k in ("begin", "end")), f"{event['peak']:.2f}"]


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


def port_of(server: Server) -> int:
    return int(server.url.split(":")[2].strip("/"))


def asked(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, b"" if path == "/lines" else answer.read()
    connection.close()
    return found


def test_foreign_pages_are_refused(server: Server) -> None:
    """A foreign name that leads here (DNS rebinding), and pages of others that embed what is here."""
    for path in ("/", "/lines", "/page.js", "/picture/0"):
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1]:80", ""):
            assert asked(server, path, Host=host)[0] == 403
        for site in ("cross-site", "same-site"):
            assert asked(server, path, Sec_Fetch_Site=site)[0] == 403
            assert asked(server, path, Sec_Fetch_Site=site, Sec_Fetch_Dest="image")[0] == 403
    assert asked(server, "/lines", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")[0] == 403
    assert asked(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")[0] == 200
    for host in ("127.0.0.1", "localhost:9999", "LOCALHOST"):
        status, headers, _ = asked(server, "/lines", Host=host, Sec_Fetch_Site="same-origin")
        assert status == 200
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control")]


def test_only_this_machine_can_connect(server: Server) -> None:
    with socket.socket() as other:
        other.settimeout(2)
        assert other.connect_ex(("127.0.0.2", port_of(server))) != 0
    assert server._socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/picture/1", "/picture/0?after=x", "/picture/-1", "/other", "/../etc/passwd"])
def test_what_is_not_here(server: Server, path: str) -> None:
    assert asked(server, path)[0] == 404
    assert asked(server, "/picture/0")[0] == 204


def reading(server: Server) -> socket.socket:
    """Somebody who asks for the lines, and has little room for them."""
    reader = socket.create_connection(("127.0.0.1", port_of(server)), timeout=10)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.sendall(b"GET /lines HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return reader


def test_readers_that_do_not_read_hold_up_nothing(server: Server) -> None:
    """Twenty of them, and as many lines as an hour brings: memory stays, and so does the pace."""
    window = {"kind": "window", "source": "a", "coverage": 1.0, "scores": [0.123456789] * 8}
    readers = [reading(server) for _ in range(20)]

    def tell(count: int, first: int) -> float:
        began = time.monotonic()
        for i in range(first, first + count):
            server.tell({**window, "end": i * 66_666_667})
            if i % 200 == 0:
                time.sleep(0.002)  # a camera leaves time
        return time.monotonic() - began

    tell(20_000, 0)
    memory = psutil.Process().memory_info().rss
    assert tell(40_000, 20_000) < 20
    grown = (psutil.Process().memory_info().rss - memory) / 1e6
    assert grown < 20
    assert asked(server, "/")[0] == 200
    for reader in readers:
        reader.close()


def test_too_many_readers_are_turned_away(server: Server) -> None:
    readers, answers = [], []
    for _ in range(65):
        reader = reading(server)
        answers.append(reader.recv(12)[9:])
        readers.append(reader)
    assert answers == [b"200"] * 63 + [b"503"] * 2
    for reader in readers:
        reader.close()


def test_the_board_keeps_what_matters() -> None:
    """The last minute of windows, events that last, the last of the rest; in order, for whoever comes when."""
    board = Board()

    def tell(kind: str, **fields: Any) -> None:
        board.tell({"kind": kind, "source": "a", **fields})

    def read(number: int = 0) -> list[Line]:
        return [json.loads(entry.text) for entry in board.since(number)[0]]

    tell("source", said="opened")
    tell("begin", label=3, begin=0)
    for i in range(150):
        tell("begin", label=1, begin=i)
        tell("event", label=1, begin=i)
        tell("figures", frames=i)
    for i in range(2 * MOST_WINDOWS):
        tell("window", end=round(i * 1e9 / 30))
    found = read()
    assert [b["begin"] for b in of(found, "begin") if b["label"] == 1] == list(range(50, 150))
    assert [e["begin"] for e in of(found, "event")] == list(range(50, 150))
    assert [b["begin"] for b in of(found, "begin") if b["label"] == 3] == [0]
    assert [f["frames"] for f in of(found, "figures")] == [149]
    ends = [w["end"] for w in of(found, "window")]
    assert len(ends) == TRACE_S * 30 + 1
    assert ends[-1] - ends[0] == pytest.approx(TRACE_S * 1e9, abs=2)
    numbers = [entry.number for entry in board.since(0)[0]]
    assert numbers == sorted(set(numbers))
    assert board.since(numbers[-1]) == ([], False)
    tell("window", end=5)  # the clock was set back
    assert [x["end"] for x in read(numbers[-1])] == [5]
    assert [w["end"] for w in of(read(), "window")] == [5]
    tell("event", label=3, begin=0)
    assert len(of(read(), "begin")) == len(of(read(), "event")) == 100
    for i in range(2 * MOST_WINDOWS):
        tell("window", end=6 + i)
    assert len(of(read(), "window")) == MOST_WINDOWS
    board.finish()
    assert board.since(0)[1]


def test_a_port_that_cannot_be_had(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"")
    command = ["watch", str(bundle.folder), str(film), "-q", "--serve"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert main([*command, str(number)]) == UsageError.exit_code
    said = capsys.readouterr().err
    assert said == f"hasten: port {number} is in use; give another one, or 0 for any that is free\n"
    for wrong in ("65536", "-1", "http", "8080.5", "٣"):
        assert main([*command, wrong]) == UsageError.exit_code
        assert f"{wrong!r} is no port: write a number from 1 to 65535" in capsys.readouterr().err or wrong == "-1"
