"""The command line from outside: quick help, one line for what a user can fix, and nothing said twice."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from firstsight import __version__, catalogue, cli, terminal
from firstsight.commands import VERBS
from firstsight.errors import InputError

HEAVY = {"torch", "cv2", "numba", "numpy", "matplotlib", "scipy"}
Run = Callable[..., tuple[int, str, str]]


def firstsight(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firstsight", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "80"} | settings,
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: (exit status, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(terminal, "_verbosity", "normal")

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["firstsight", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return called


def test_help_of_no_verb_imports_anything_heavy():
    program = (
        "import sys, firstsight.commands as c; "
        f"[c.command(verb) for verb in c.VERBS]; print({HEAVY!r} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"


def test_help_of_training_takes_less_than_two_seconds_of_cpu():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = firstsight("train", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert shown.returncode == 0
    assert "METHOD SOURCE [SOURCE ...]" in shown.stdout
    # 0.6 s on a quiet machine, 5.5 s when it imported torch
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_the_verbs_are_listed_with_a_sentence_each(run: Run):
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2] not in " -"]
    assert listed == list(VERBS)
    assert all(len(line) <= 80 for line in out.splitlines())
    assert run()[1] == out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_a_sentence_for_each_flag_and_no_noise(run: Run, verb: str):
    status, out, _ = run(verb, "--help")
    assert status == 0
    assert "None" not in out
    assert "(default: )" not in out
    assert "(default: False)" not in out
    rows = [line.strip("│ ") for line in out.splitlines() if line.startswith("│")]
    for index, row in enumerate(rows):
        if row.startswith("--"):
            description = row.split("  ", 1)[1] if "  " in row else rows[index + 1]
            assert description[:1].isupper(), row


def test_the_version(run: Run):
    assert run("--version") == (0, f"firstsight {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("perceiv", "sim:street"), "perceiv: no such command; did you mean perceive?"),
        (("methods", "lukas-kanade"), "lukas-kanade: no such method; did you mean lucas-kanade?"),
        (("methods", "magic"), "magic: no such method; see firstsight methods"),
        (("methods", "--role", "flow"), "--role flow: no such role; did you mean FlowEstimator?"),
        (("train", "monodep", "sim:street"), "monodep: no such method; did you mean monodepth or monodepth2?"),
        (("gallery", "cost-slise"), "cost-slise: no such figure; did you mean cost-slice?"),
        (("simulate", "steet"), "steet: no such world; did you mean street?"),
        (("perceive",), "perceive: SOURCE is missing; see firstsight perceive --help"),
        (("train",), "train: METHOD is missing; see firstsight train --help"),
        (
            ("show", "/nowhere"),
            "/nowhere: no such folder; give a run of firstsight perceive or a training of firstsight train",
        ),
        (("show", "/a\x1b[31mb"), None),
        (
            ("perceive", "sim:street", "--use", "lucas-kanade", "--out=a", "--use", "plane-sweep"),
            "--use is given twice; give it once, with all values behind it where it takes several",
        ),
        (
            ("perceive", "sim:street", "--frames", "0:3", "--frames=0:9"),
            "--frames is given twice; give it once, with all values behind it where it takes several",
        ),
        (("optimise", "/nope.g2o"), "/nope.g2o: no such file; give a pose graph in g2o's or TORO's format"),
    ],
)
def test_what_a_user_can_fix_is_one_line(run: Run, arguments: tuple[str, ...], line: str | None):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    if line is not None:
        assert err == f"firstsight: {line}\n"


def test_words_may_stand_anywhere(run: Run, tmp_path: Path):
    for arguments in (("rooms", "--frames", "1"), ("--frames", "1", "rooms"), ("--frames=1", "rooms")):
        out = tmp_path / str(len(arguments))
        assert run("simulate", "--height", "24", *arguments, "--width=32", "--out", str(out), "-q")[0] == 0
        assert len(list(out.glob("**/image_02/data/*.png"))) == 1


def test_quiet_shows_results_alone(run: Run, tmp_path: Path):
    flags = ("simulate", "rooms", "--frames", "1", "--height", "24", "--width", "32", "--out")
    status, out, err = run(*flags, str(tmp_path / "loud"))
    assert "frames" in err
    status, out, err = run("-q", *flags, str(tmp_path / "quiet"))
    assert (status, err) == (0, "")
    assert out.startswith("written: ")


def test_verbose_shows_where_an_error_arose(run: Run):
    assert "Traceback" not in run("methods", "magic")[2]
    assert "catalogue.py" in run("methods", "magic", "-v")[2]


def test_a_reader_who_has_seen_enough_ends_it_quietly():
    for arguments in (["--help"], ["methods"], ["perceive", "--help"]):
        command = [sys.executable, "-m", "firstsight", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""


def test_an_interrupt_ends_with_status_130(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    status, _, err = run("methods")
    assert status == 130
    assert "the same command continues" in err


@pytest.mark.parametrize(("number", "words"), [(28, "No space left on device"), (27, "File too large")])
def test_no_room_is_one_line_and_a_defect_is_not(run: Run, monkeypatch: pytest.MonkeyPatch, number: int, words: str):
    def full(_: object) -> None:
        raise OSError(number, words, "/data/\x1b[31mx")

    monkeypatch.setattr(cli, "run", full)
    status, _, err = run("methods")
    assert (status, err) == (2, f"firstsight: /data/\\x1b[31mx: {words}; nothing finished is lost\n")
    monkeypatch.setattr(cli, "run", lambda _: {}["defect"])
    with pytest.raises(KeyError):
        run("methods")


def test_completion_knows_every_verb():
    shown = firstsight("--tyro-print-completion", "bash")
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in VERBS)


def test_methods_is_one_line_for_each_at_80_columns_and_no_name_is_cut(run: Run):
    lines = run("methods")[1].splitlines()
    assert all(len(line) <= 80 for line in lines)
    families = {entry.family for entry in catalogue.entries()}
    assert len(lines) == len(catalogue.METHODS) + len(families) + 2
    assert sorted(line.split()[0] for line in lines if line.startswith("  ")) == sorted(catalogue.METHODS)
    assert lines[0] == "depth"
    assert lines[1].startswith("  semi-global-matching        Stereo by semi-global matching")


def test_methods_by_what_they_are(run: Run):
    names = [line.split()[0] for line in run("methods", "--role", "FlowEstimator")[1].splitlines() if line[:1] == " "]
    assert {"dense-inverse-search", "lucas-kanade", "pwc-net"} <= set(names)
    assert "monodepth" not in names
    found = json.loads(run("methods", "--trainable", "--json")[1])
    roles = {entry["name"]: entry["role"] for entry in found}
    assert roles["monodepth"] == "DepthEstimator"
    assert roles["slot-attention"] == "Discoverer"
    assert "semi-global-matching" not in roles
    assert all(entry["trainable"] is True for entry in found)


def test_methods_prints_the_docstring(run: Run):
    status, out, _ = run("methods", "semi-global-matching")
    assert status == 0
    assert "Hirschmueller" in out
    assert "Idea:" in out


def test_what_is_called_trainable_is():
    from firstsight.training import Trainable

    for entry in catalogue.entries():
        assert entry.learns == issubclass(entry.load(), Trainable), entry.name


def test_doctor_says_what_is_installed_as_json(run: Run):
    parts = {line["part"]: line for line in json.loads(run("doctor", "--json")[1])}
    assert parts["firstsight"] == {"part": "firstsight", "verdict": "ok", "found": __version__, "advice": ""}
    assert {"ray", "onnx", "tensorboard", "huggingface_hub", "rerun-sdk"} <= set(parts)


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.name)
def test_every_catalogue_line_is_a_method_with_a_paper_and_a_role(entry: catalogue.Entry):
    method = entry.load()
    roles = [base.__name__ for base in method.__mro__ if base.__module__.startswith("firstsight.roles")]
    assert len(roles) >= 1
    assert entry.section("Role").startswith(tuple(roles))
    assert entry.section("Paper")
    assert entry.section("Idea")


def test_find_raises_for_an_unknown_name():
    with pytest.raises(InputError, match="no such method"):
        catalogue.find("magic")
