"""Mutated inputs over all readers, through what users call: python tools/fuzz.py --seed 5 --cases 1000

Small intact recordings, graphs, models, runs, trainings and archives are mutated by seed: flipped and cut bytes, absurd
headers, NaN, wrong counts, deep nesting, files that are renamed, missing, doubled, folders or pipes. Right is a success with
finite values, a flagged frame or one InputError line. Anything else is a finding; it is printed with its seed and number,
grouped by kind (exception x file:line). A case is run again, its files kept, by --case NUMBER --keep FOLDER.

The cases run in a process of their own, forked from this one, so that one that dies or hangs costs itself alone.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from fuzzing import cases
from fuzzing.cases import FINDING, Case, Outcome, Samples
from fuzzing.targets import TARGETS

FORK = multiprocessing.get_context("fork")
SHOWN = 3
# A process that says nothing for longer hangs where no signal reaches it.
PATIENCE_S = 3 * cases.TIME_S
ENDING_S = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the cases and prints what was found; returns 1 where anything was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--case", type=int, help="run this case alone, here, with its traceback")
    parser.add_argument("--intact", action="store_true", help="only read the intact samples, here")
    parser.add_argument("--keep", type=Path, help="where the files of --case stay")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        samples = Samples(Path(folder), given.keep)
        if given.intact:
            for name in given.targets:
                cases.require_intact(name, samples)
            return 0
        if given.case is not None:
            return run_one(Case(given.seed, given.case), given.targets, samples)
        started = time.monotonic()
        make_samples(given.targets, samples)
        prepared = time.monotonic()
        outcomes = dict(run_all(given.seed, given.cases, given.targets, samples))
        print_findings(given.seed, outcomes)
        seconds = time.monotonic() - prepared
    counts = Counter(outcome.outcome for outcome in outcomes.values())
    listed = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(f"{len(outcomes)} cases: {listed}; {seconds:.0f} s, and {prepared - started:.0f} s for the samples")
    return int(counts[FINDING] > 0)


def run_one(case: Case, names: list[str], samples: Samples) -> int:
    """One case, in this process, so that its exception is seen whole."""
    import traceback

    cases.kind_of = lambda error: "".join(traceback.format_exception(error))
    outcome = cases.run(case, cases.drawn(case, names), samples)
    print(f"{outcome.target}: {', '.join(outcome.changed)}\n{outcome.outcome} {outcome.kind}")
    return int(outcome.outcome == FINDING)


def run_all(seed: int, count: int, names: list[str], samples: Samples) -> Iterator[tuple[int, Outcome]]:
    """The outcomes by number. A process that ends or hangs is a finding, and another one goes on after its case."""
    done = 0
    while done < count:
        for number, outcome in answers(seed, done, count, names, samples):
            yield number, outcome
            done = number + 1


def make_samples(names: list[str], samples: Samples) -> None:
    """Makes all samples, in a process of its own: PyTorch's threads, once started, do not survive that others are forked."""

    def make() -> None:
        silence()
        for name in names:
            samples.path(TARGETS[name])
            cases.require_intact(name, samples)

    child = FORK.Process(target=make)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError("an intact sample cannot be made or read; see why with --intact")


def silence() -> None:
    """What this process says on its standard outputs is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def answers(seed: int, first: int, count: int, names: list[str], samples: Samples) -> Iterator[tuple[int, Outcome]]:
    """What a process says of the cases from `first`, until it ends; at last what its end says of the case it was at."""
    hearing, speaking = FORK.Pipe(duplex=False)
    child = FORK.Process(target=work, args=(seed, range(first, count), names, samples, speaking))
    child.start()
    speaking.close()
    number = first
    try:
        while number < count and hearing.poll(PATIENCE_S):
            yield number, hearing.recv()
            number += 1
    except EOFError:
        pass
    child.join(ENDING_S)  # one that has died may not be gone when its pipe is
    alive = child.is_alive()
    child.kill()
    child.join()
    if number < count:
        end = "hung" if alive else f"died ({child.exitcode})"
        yield number, Outcome(FINDING, cases.drawn(Case(seed, number), names), f"the process {end}", [])


def work(seed: int, numbers: range, names: list[str], samples: Samples, speaking: Connection) -> None:
    """Runs cases and tells the outcome of each."""
    silence()
    for number in numbers:
        case = Case(seed, number)
        speaking.send(cases.run(case, cases.drawn(case, names), samples))


def print_findings(seed: int, outcomes: dict[int, Outcome]) -> None:
    """A line for each kind, the most frequent first, with the numbers of some of its cases."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, outcome in outcomes.items():
        if outcome.outcome == FINDING:
            found[outcome.kind].append(number)
    for kind, numbers in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"{len(numbers):4d}  {kind}")
        for number in numbers[:SHOWN]:
            outcome = outcomes[number]
            print(f"      --seed {seed} --case {number}  {outcome.target}: {', '.join(outcome.changed)}")


if __name__ == "__main__":
    sys.exit(main())
