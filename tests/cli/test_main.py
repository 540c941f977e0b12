"""What `main` makes of outcomes and faults: exit codes, one line on stderr, files for programs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hasten
import hasten.cli
import hasten.cli.verify as verb
from hasten import errors, files
from hasten.cli import main
from hasten.cli._outcome import Outcome

KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.HastenError)]
COMMAND = [sys.executable, "-c", "import sys; from hasten.cli import main; sys.exit(main())"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(hasten.__file__).parents[1])}


def gives(monkeypatch: pytest.MonkeyPatch, outcome: Outcome | BaseException) -> None:
    """Let `hasten verify` have this outcome."""

    def run(arguments: object, progress: object) -> Outcome:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(verb, "run", run)


def test_an_outcome_is_shown_and_written(monkeypatch, capsys, tmp_path) -> None:
    gives(monkeypatch, Outcome({"a": 1}, ["all [bold]well[/bold]", "x" * 300]))
    assert main(["verify", "b", "--json", str(tmp_path / "new" / "a.json")]) == 0
    assert capsys.readouterr().out == "all [bold]well[/bold]\n" + "x" * 300 + "\n"
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"a": 1}


def test_a_no_is_said_even_when_quiet(monkeypatch, capsys, tmp_path) -> None:
    gives(monkeypatch, Outcome({"won": False}, ["a table"], "it is\nnot enough", 1))
    assert main(["verify", "b", "-q", "--json", str(tmp_path / "a.json")]) == 1
    assert capsys.readouterr() == ("", "hasten: it is not enough\n")
    assert json.loads((tmp_path / "a.json").read_text()) == {"won": False}


@pytest.mark.parametrize("kind", [k for k in KINDS if k.exit_code != 70], ids=lambda k: k.__name__)
def test_a_mistake_is_one_line(kind, monkeypatch, capsys) -> None:
    gives(monkeypatch, kind("what", "mend"))
    assert main(["verify", "b"]) == kind.exit_code
    assert capsys.readouterr().err == "hasten: what; mend\n"


@pytest.mark.parametrize("fault", [ZeroDivisionError("no\nway"), errors.ContractError("broken"), AssertionError()])
def test_a_bug_leaves_its_traceback(fault, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path))
    gives(monkeypatch, fault)
    assert main(["verify", "b"]) == 70
    (trace,) = (tmp_path / "faults").iterdir()
    said = capsys.readouterr().err
    assert said.startswith(f"hasten: a bug: {type(fault).__name__}")
    assert said.count("\n") == 1
    assert str(trace) in said
    assert trace.read_text().startswith("hasten verify b\n\nTraceback")
    assert type(fault).__name__ in trace.read_text()


def test_a_bug_without_a_cache_is_shown(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "taken"))
    gives(monkeypatch, ZeroDivisionError("no way"))
    assert main(["verify", "b"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys) -> None:
    import hasten.cli.boost as boost

    def run(arguments: object, progress: object) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(boost, "run", run)
    for more in ([], ["--resume"]):
        assert main(["boost", "t.py", "-o", "a b", *more]) == 130
        assert capsys.readouterr().err == "hasten: stopped; to go on from here: hasten boost t.py -o 'a b' --resume\n"
    gives(monkeypatch, KeyboardInterrupt())
    assert main(["verify", "b"]) == 130
    assert capsys.readouterr().err == "hasten: stopped\n"


def test_ctrl_c_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    running = subprocess.Popen(
        [*COMMAND, "export", str(tmp_path / "task.py"), "-o", str(tmp_path / "m.onnx")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever started the tests may ignore it
    )
    assert running.stdout.readline() == "here\n"
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said.splitlines()[-1]) == (130, "hasten: stopped")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("words", "closed", "code"), [("doctor", 1, 0), ("--help", 1, 0), ("nonsense", 2, 2)])
def test_a_reader_that_goes_away_is_no_fault(words: str, closed: int, code: int) -> None:
    gone, end = os.pipe()
    os.close(gone)
    streams = {"stdout" if closed == 1 else "stderr": end, "stderr" if closed == 1 else "stdout": subprocess.PIPE}
    ended = subprocess.run([*COMMAND, words], env=ENVIRONMENT, check=False, text=True, **streams)
    os.close(end)
    assert (ended.returncode, ended.stdout or "", ended.stderr or "") == (code, "", "")


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hasten.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'rich', 'jinja2'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    times = []
    for _ in range(3):
        began = time.process_time_ns(), os.times().children_user + os.times().children_system
        shown = subprocess.run(
            [sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True, text=True
        )
        times.append(os.times().children_user + os.times().children_system - began[1])
    assert min(times) < 0.3  # of processor time: the wall's depends on the neighbours
    for needed in ("boost", "doctor", "export", "measure", "report", "verify", "exit codes"):
        assert needed in shown.stdout


def test_the_real_thing_writes_nothing_it_should_not(capsys, tmp_path) -> None:
    assert main(["verify", str(tmp_path / "no"), "--json", str(tmp_path / "a.json")]) == 3
    assert not list(tmp_path.iterdir())
    assert files.cache_folder() != Path.home() / ".cache" / "hasten"
