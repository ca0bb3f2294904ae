"""Mutation score of a folder of the package: python tools/mutants.py src/firstsight/formats --count 40 --seed 1

Cosmic Ray says what can be changed in the folder's modules (operators, numbers, comparisons, conditions, loops, ...). Of these
`count` are drawn by seed, equally often from each module as its share of lines. Each is put into a copy of the repository,
where the folder's tests run, the module's own ones first, then those that import it, until one fails: the mutant is killed.
Survivors are printed. With `--near` a module's own are run alone (where it has none, those that import it): of a folder whose
tests are long that is a lower bound of the score.

Left out is what no test could see: annotations, docstrings, decorators, messages of errors. Each mutant is run in a process
forked from one that has imported PyTorch and the like, which saves most of the time.
"""

import argparse
import ast
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/firstsight")
# A mutant whose tests take so many times as long as those of the intact code is killed by that; never before so many seconds.
PATIENCE, LEAST_LIMIT_S = 3, 60
# Mutants that need arguments of ours, or that say nothing of the program's meaning.
LEFT_OUT = ("core/RemoveDecorator", "core/ExceptionReplacer", "core/VariableReplacer", "core/VariableInserter")
PYTEST = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--durations=0")
# Types are not checked at run time, which takes longer than all else and could only kill more.
OPTIONS = ("-o", "addopts=--import-mode=importlib")
STAMPS = count(10**9)


class Mutant(NamedTuple):
    """The `occurrence`-th change of an operator to a module, which is at `line`."""

    module: Path
    operator: str
    occurrence: int
    line: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the survivors and the score; returns 1 where it is below `--least`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--near", action="store_true", help="run the tests of a module alone, or those that import it")
    parser.add_argument("--least", type=float, default=0.0, help="the score in percent that is asked for")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve().relative_to(ROOT)
    mutants = drawn(list(possible(ROOT / folder)), given.count, Random(given.seed))
    import_heavy()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        copy = copied(Path(place))
        tests = tests_of(folder, copy)
        began = time.monotonic()
        parts = {mutant.module: parts_of(tests, mutant.module, copy, given.near) for mutant in mutants}
        needed = sorted({test for of_module in parts.values() for part in of_module for test in part})
        if run_tests(copy, needed if given.near else [tests], limit_s=3600) != "survived":
            print(f"the tests of {folder} fail as they are; nothing is measured")
            return 2
        intact_s = time.monotonic() - began
        print(f"{folder}: {len(mutants)} mutants, {intact_s:.0f} s for the tests", flush=True)
        limit_s = max(PATIENCE * intact_s, LEAST_LIMIT_S)
        outcomes = Counter(judged(mutant, copy, parts[mutant.module], limit_s) for mutant in mutants)
    killed = outcomes["killed"] + outcomes["too long"]
    score = 100 * killed / max(len(mutants), 1)
    slow = f" ({outcomes['too long']} by taking too long)" if outcomes["too long"] else ""
    print(f"{folder}: {killed} of {len(mutants)} killed{slow}, {score:.0f} %; {time.monotonic() - began:.0f} s")
    return int(score < given.least)


def import_heavy() -> None:
    """Imports what the tests need and nobody mutates."""
    import cv2  # noqa: F401
    import numba  # noqa: F401
    import pytest  # noqa: F401
    import rosbags.highlevel  # noqa: F401
    import scipy.spatial.transform  # noqa: F401
    import torch  # noqa: F401


def copied(place: Path) -> Path:
    """A copy of what the tests need."""
    for name in ("src", "tests", "tools", "docs", "examples", "benchmarks"):
        shutil.copytree(ROOT / name, place / name)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, place / path.name)
    return place


def tests_of(folder: Path, copy: Path) -> Path:
    """The tests that mirror the folder or module, within the copy."""
    inside = folder.relative_to(PACKAGE)
    tests = copy / "tests" / inside
    return tests.with_name(f"test_{tests.stem}.py") if folder.suffix else tests


def possible(folder: Path) -> Iterator[Mutant]:
    """All mutants of the folder's modules."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    names = [name for name in operator_names() if not name.startswith(LEFT_OUT)]
    for module in sorted(folder.rglob("*.py") if folder.is_dir() else [folder]):
        source = module.read_text()
        unseen = unseen_spans(source)
        nodes = list(ast_nodes(get_ast(source)))
        for name in names:
            kind = get_operator(name)
            if kind.arguments():
                continue
            places = [start for node in nodes for start, _ in kind().mutation_positions(node)]
            for occurrence, start in enumerate(places):
                if not any(first <= start <= last for first, last in unseen):
                    yield Mutant(module.relative_to(ROOT), name, occurrence, start[0])


def unseen_spans(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where no test can see a change: annotations, decorators, and what is said when something is raised."""
    spans: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            spans += node.decorator_list
        if isinstance(node, ast.FunctionDef):
            spans.append(node.returns)
        if isinstance(node, ast.arg | ast.AnnAssign):
            spans.append(node.annotation)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            spans.append(node.value if is_type(node.value) else None)
        if isinstance(node, ast.Raise):
            spans.append(node)
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in spans if n is not None]  # ty: ignore


def is_type(value: ast.Subscript) -> bool:
    """Whether it is an alias such as Float64[np.ndarray, "rows 4 4"] or Callable[[int], str]."""
    name = value.value.id if isinstance(value.value, ast.Name) else ""
    return name.startswith(("Float", "Int", "Bool", "UInt", "Shaped", "Callable", "Sequence", "Mapping"))


def drawn(mutants: list[Mutant], count: int, random: Random) -> list[Mutant]:
    """Some of them; two on one line are one too many."""
    random.shuffle(mutants)
    by_line = {(mutant.module, mutant.line): mutant for mutant in mutants}
    chosen = random.sample(sorted(by_line), min(count, len(by_line)))
    return [by_line[place] for place in sorted(chosen)]


def judged(mutant: Mutant, copy: Path, parts: list[list[Path]], limit_s: float) -> str:
    """Puts the mutant into the copy, runs the tests and takes it out again; a survivor is printed."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    path = copy / mutant.module
    intact, stamp = path.read_bytes(), path.stat().st_mtime
    changed = mutate_code(intact.decode(), get_operator(mutant.operator)(), mutant.occurrence)
    if changed is None:
        return "killed"
    path.write_text(changed)
    # bytecode is kept by whole seconds: every mutant has its own
    os.utime(path, times=(next(STAMPS),) * 2)
    try:
        outcome = run_in_parts(copy, parts, limit_s)
    finally:
        path.write_bytes(intact)
        os.utime(path, times=(stamp, stamp))
    if outcome == "survived":
        line, other = intact.decode().splitlines(), changed.splitlines()
        difference = next(((a, b) for a, b in zip(line, other, strict=False) if a != b), ("", ""))
        print(
            f"{mutant.module}:{mutant.line} {mutant.operator}\n  - {difference[0].strip()}\n  + {difference[1].strip()}",
            flush=True,
        )
    return outcome


def parts_of(tests: Path, module: Path, copy: Path, near: bool) -> list[list[Path]]:
    """The module's own tests, those that import it, those of the folders it lies in, all: the nearest first; if `near`, one part."""
    if tests.suffix:
        return [[tests]]
    own = sorted(tests.rglob(f"test_{module.stem}.py"))
    name, stem = ".".join(module.parent.parts[1:]), module.stem
    import_of = re.compile(rf"^from {re.escape(name)}(\.{stem} import|  *import .*\b{stem}\b)", re.MULTILINE)
    others = [test for test in sorted(tests.rglob("test_*.py")) if test not in own]
    importing = [test for test in others if import_of.search(test.read_text())]
    parts, inside = [own, importing], module.parent.relative_to(PACKAGE)
    for folder in (inside, *inside.parents):
        beside = copy / "tests" / folder
        if tests in beside.parents:
            parts += [[beside] if beside.is_dir() else sorted(tests.rglob(f"test_{folder.name}*.py"))]
    parts = [*filter(None, parts), [tests]]
    return parts[:1] if near else parts


def run_in_parts(copy: Path, parts: list[list[Path]], limit_s: float) -> str:
    """Runs each part, without those that ran, until a test fails."""
    ran: list[Path] = []
    for part in parts:
        if (outcome := run_tests(copy, part, ran, limit_s)) != "survived":
            return outcome
        ran += part
    return "survived"


def run_tests(copy: Path, tests: Sequence[Path], without: Sequence[Path] = (), limit_s: float = LEAST_LIMIT_S) -> str:
    """ "killed" where a test failed, "survived" where none did, "too long" where they did not end."""
    child = os.fork()
    if child == 0:
        end_with_tests(copy, [*map(str, tests), *(f"--ignore={path}" for path in without)])
    ended, began = 0, time.monotonic()
    while not ended and time.monotonic() - began < limit_s:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.05)
    if not ended:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "too long"
    return "survived" if os.waitstatus_to_exitcode(status) in (0, 5) else "killed"


def end_with_tests(copy: Path, tests: Sequence[str]) -> None:
    """Runs the tests against the copy, in a process group of its own, and ends this process with what came of it."""
    import pytest

    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": ""}
    sys.path.insert(0, str(copy / "src"))
    for name in [name for name in sys.modules if name.split(".")[0] == "firstsight"]:
        del sys.modules[name]
    os._exit(int(pytest.main([*PYTEST, *OPTIONS, *tests])))


if __name__ == "__main__":
    sys.exit(main())
