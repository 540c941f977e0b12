"""The page: offline, inert whatever it is told, and with the result inside."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from results import HOSTILE, hostile, refused, result

from hasten.errors import InputError, MissingError
from hasten.manifest import validate
from hasten.report import html
from hasten.report.html import page
from hasten.report.kept import kept


class Seen(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within not in ("script", "style"):
            self.text += data


@pytest.mark.parametrize("made", [result(), refused(), hostile()], ids=["won", "refused", "hostile"])
def test_the_samples_are_results(made: dict, tmp_path: Path) -> None:
    validate(made, "result", tmp_path)


@pytest.mark.parametrize("made", [result(), refused(), hostile()], ids=["won", "refused", "hostile"])
def test_nothing_is_loaded_and_nothing_runs(made: dict) -> None:
    text = page(made)
    seen = Seen(text)
    loading = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}
    assert not [(tag, a) for tag, attributes in seen.tags for a in attributes if a in loading or a.startswith("on")]
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & {tag for tag, _ in seen.tags}
    assert [a.get("type") for tag, a in seen.tags if tag == "script"] == ["application/json"]
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", re.search(r"<style>.*?</style>", text, re.DOTALL)[0])


def test_hostile_words_are_shown_as_they_are() -> None:
    made = hostile()
    text = page(made)
    assert Seen(text).text.count(HOSTILE) > 20
    assert "<script>alert" not in text
    assert "<img" not in text


def test_what_was_measured_is_there() -> None:
    made = result()
    text = Seen(page(made)).text
    for row in (*made["baselines"], *made["trials"], made["winner"]):
        assert row["engine"] in text
        assert row["reason"] in text
    for needed in (
        made["command"],
        made["verdict"],
        "7.50 [7.35, 7.65]",
        "+0.0012 [-0.0003, +0.0027]",
        "avx512_vnni",
        "2026-01-01",
    ):
        assert needed in text


def test_the_winner_is_marked() -> None:
    rows = [a["class"] for tag, a in Seen(page(result())).tags if tag == "tr" and a.get("class")]
    assert rows.count("winner") == 2  # by itself, and where it stands among the candidates
    assert not [a for tag, a in Seen(page(refused())).tags if a.get("class") in ("winner", "halo")]


def test_the_result_comes_back_out_of_a_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "out"
    bundle.mkdir()
    (bundle / "report.html").write_text(page(hostile()))
    assert kept(bundle) == (hostile(), tmp_path / "out.report.html")


@pytest.mark.parametrize("asked", ["out", "out.trials"])
def test_the_trials_come_first(asked: str, tmp_path: Path) -> None:
    for folder in (tmp_path / "out", tmp_path / "out.trials"):
        folder.mkdir()
    (tmp_path / "out" / "report.html").write_text(page(refused()))
    (tmp_path / "out.trials" / "result.json").write_text(json.dumps(result()))
    assert kept(tmp_path / asked) == (result(), tmp_path / "out.trials" / "report.html")


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("out/report.html", "<p>", "holds no result"),
        ("out.trials/result.json", "{", "damaged"),
        ("out.trials/result.json", "{}", "no result of this version"),
        ("out.trials/trials.sqlite", "", "--resume"),
        ("out/other", "", "holds no result"),
    ],
)
def test_what_is_no_result_is_refused(file: str, content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=sentence):
        kept(tmp_path / "out")


def test_without_jinja_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'hasten\[report\]'"):
        page(result())
