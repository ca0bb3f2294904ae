import subprocess
import sys
import time


def firstsight(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "firstsight", *arguments], capture_output=True, text=True, check=False)


def test_help_answers_at_once_without_heavy_imports():
    started = time.monotonic()
    shown = firstsight("--help")
    seconds = time.monotonic() - started
    assert shown.returncode == 0
    assert {"perceive", "doctor", "simulate", "methods", "gallery", "show"} <= set(shown.stdout.split())
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, firstsight.cli; print({'torch', 'cv2', 'numba', 'numpy'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "set()"
    assert seconds < 5  # 0.3 s on a quiet machine; the modules above are what would make it slow


def test_unknown_method_is_one_line():
    ended = firstsight("methods", "magic")
    assert ended.returncode == 2
    assert ended.stderr == "firstsight: magic: no such method; `firstsight methods` lists them\n"


def test_methods_prints_the_docstring():
    shown = firstsight("methods", "semi-global-matching")
    assert "Hirschmueller" in shown.stdout


def test_show_says_where_the_files_are(tmp_path):
    ended = firstsight("show", str(tmp_path))
    assert ended.returncode == 2
    assert "not a run folder" in ended.stderr
