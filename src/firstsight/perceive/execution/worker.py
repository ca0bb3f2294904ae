"""The program of a worker (see workers.py): jobs in on standard input, their answers out on standard output."""

import json
import os
import signal
import sys
import traceback
from queue import Queue
from threading import Thread
from typing import Any, TextIO

import cv2
import torch

from firstsight.errors import InputError
from firstsight.perceive.execution.frames import FrameStore, decoded_once
from firstsight.perceive.execution.jobs import Answer, Job, JobRunner
from firstsight.perceive.settings import Settings
from firstsight.perceive.workspace import Workspace
from firstsight.run_folder import RunFolder


def main() -> None:
    """Does the jobs of a run until the input ends. What libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    lines: Queue[str] = Queue()
    Thread(target=read_lines, args=(lines,), daemon=True).start()
    begin, runner = json.loads(lines.get()), None
    while True:
        job = Job(*json.loads(lines.get()))
        try:
            runner = runner or runner_of(begin)
            answer = runner.run(job, lambda frames: say(answers, {"frames": frames}))
        except InputError as error:
            answer = {"input_error": str(error)}
        except Exception:
            answer = {"defect": traceback.format_exc()}
        say(answers, answer)


def read_lines(lines: "Queue[str]") -> None:
    """Ends the process with its input: the run has ended or was killed, and no file is ever left half written."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def runner_of(begin: dict[str, Any]) -> JobRunner:
    """Opens the recording as the run does, with its part of the store of decoded frames."""
    run, settings = RunFolder(begin["out"]), Settings.of_json(begin["settings"])
    store = FrameStore(run.scratch_path / "frames", sharers=begin["sharers"])
    recording = decoded_once(settings.open(begin["source"]), store)
    return JobRunner(Workspace(recording, run, settings.use), begin["scale"])


def say(answers: TextIO, answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
