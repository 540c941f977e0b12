"""The server of the page: who is refused, readers that do not read, and ports."""

import gc
import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hasten.cli import main
from hasten.errors import InputError, MissingError, UsageError
from hasten.serve import server as module
from hasten.serve.server import Server

VIDEO = Path(__file__).parents[2] / "spec" / "golden" / "video"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(0, VIDEO, ["a"]) as one:
        yield one


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
                time.sleep(0.01)  # for the server to look many times
        return time.monotonic() - began

    tell(20_000, 0)
    memory = psutil.Process().memory_info().rss
    assert tell(40_000, 20_000) < 20
    grown = (psutil.Process().memory_info().rss - memory) / 1e6
    assert grown < 20
    assert asked(server, "/")[0] == 200
    for reader in readers:
        reader.close()


def test_the_end_does_not_wait_for_who_does_not_read() -> None:
    with Server(0, VIDEO, ["a"]) as server:
        readers = [reading(server) for _ in range(3)]
        for i in range(60_000):
            server.tell({"kind": "window", "source": "a", "end": i * 20_000_000, "scores": [0.123456789] * 8})
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    assert not server._thread.is_alive()
    gc.collect()  # a connection that is left open would be told of here
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


def test_a_port_that_cannot_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"")
    command = ["watch", str(VIDEO), str(film), "-q", "--serve"]
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


def test_what_is_no_bundle_leaves_no_port_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a bundle"):
        Server(0, tmp_path, ["a"])


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "uvicorn" else object())
    assert module.missing() == "uvicorn is not installed: pip install 'hasten[serve]'"
    with pytest.raises(MissingError, match="uvicorn"):
        Server(0, VIDEO, ["a"])
