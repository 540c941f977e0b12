"""From words to arguments: what is taken, and the sentence for what is not."""

import argparse
from pathlib import Path

import pytest

from hasten.cli._arguments import duration, parse, positive, seed, share, verbs
from hasten.errors import UsageError

GREET = '''"""Say hello."""


def add(parser):
    parser.add_argument("--name")


def run(arguments, progress):
    return arguments.name
'''


def test_every_file_is_a_verb() -> None:
    first = ["boost", "build", "check", "compare", "diff", "doctor", "ensemble", "explain", "export", "measure"]
    assert verbs() == [*first, "report", "run", "verify", "watch"]


def test_a_planted_file_is_a_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hasten.cli

    (tmp_path / "greet.py").write_text(GREET)
    monkeypatch.setattr(hasten.cli._arguments, "__file__", str(tmp_path / "_arguments.py"))
    monkeypatch.setattr(hasten.cli, "__path__", [str(tmp_path)])
    arguments = parse(["greet", "--name", "you", "--seed", "3"])
    assert (arguments.run(arguments, None), arguments.seed) == ("you", 3)


def test_boost_has_the_options_of_the_contract() -> None:
    line = "boost t.py -o out --max-drop 0.005 --speedup 2 --time 90s --engine a --engine b --recipe x --resume"
    arguments = parse(
        [*line.split(), *["--calibrate", "c.npz", "--validate", "v.npz", "--test", "t.npz", "--metric", "top1"]]
    )
    assert (arguments.task, arguments.output, arguments.max_drop, arguments.speedup) == ("t.py", "out", 0.005, 2.0)
    assert (arguments.latency_ms, arguments.time, arguments.engine, arguments.recipe) == (None, 90.0, ["a", "b"], ["x"])
    assert (arguments.calibrate, arguments.validate, arguments.test) == ("c.npz", "v.npz", "t.npz")
    assert (arguments.metric, arguments.resume, arguments.seed, arguments.quiet) == ("top1", True, 0, False)
    assert arguments.command.startswith("hasten boost t.py -o out --max-drop 0.005")


def test_the_defaults() -> None:
    arguments = parse(["boost", "t.py", "-o", "a b"])
    assert (arguments.max_drop, arguments.time, arguments.engine, arguments.recipe) == (0.01, 1200.0, [], [])
    assert arguments.command == "hasten boost t.py -o 'a b'"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h", 3600), ("1h30m", 5400), ("1h1m1s", 3661)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "0s", "-5m", "5 m", "m", "1m1h", "1.5h", "inf", "soon"])
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 90s, 20m or 1h30m"):
        duration(text)


@pytest.mark.parametrize("text", ["-0.01", "nan", "inf", "1%", ""])
def test_no_drops(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a drop"):
        share(text)


def test_a_drop_may_be_none_at_all() -> None:
    assert (share("0"), share("2.5")) == (0.0, 2.5)


@pytest.mark.parametrize(
    ("kind", "text"), [(positive, "0"), (positive, "-1"), (positive, "x"), (seed, "-1"), (seed, "1.0")]
)
def test_no_numbers(kind, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "no verb was given; there are: boost"),
        ("bost t.py", "no verb is called 'bost'; did you mean 'boost'"),
        ("--speed", "no option of hasten is called '--speed'"),
        ("boost t.py", "-o/--output"),
        ("boost t.py --max-dorp 1", "'--max-dorp'; did you mean '--max-drop'"),
        ("boost t.py -o out --max-dorp=1", "did you mean '--max-drop'"),
        ("boost t.py -o out --max 1", "no option of hasten boost is called '--max'"),  # nothing is guessed
        ("boost t.py -o out --max-drop -0.1", "'-0.1' is not a drop"),
        ("boost t.py -o out --time 20", "'20' is not a time"),
        ("boost t.py -o out --speedup 2 --latency-ms 3", "not allowed with argument --speedup"),
        ("boost t.py u.py -o out", "unrecognized arguments: u.py; see hasten boost --help"),
        ("verify", "the following arguments are required: BUNDLE"),
        ("verify b --json .", "'.' is no regular file"),
        ("verify b --json /dev/null", "'/dev/null' is no regular file"),
        ("verify b --json /proc/1/x/y.json", "no folder that can be written to"),
    ],
)
def test_wrong_words_are_usage_errors(words: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words.split())
    assert sentence in str(caught.value)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], *([verb, "--help"] for verb in verbs())])
def test_help_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as asked:
        parse(words)
    assert asked.value.code == 0
    assert "hasten" in capsys.readouterr().out
