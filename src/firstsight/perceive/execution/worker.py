"""The program of a worker (see workers.py): frames in on standard input, what became of them out."""

import json
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import cv2
import torch

from firstsight.errors import InputError
from firstsight.formats.storage.state import read_state
from firstsight.perceive.choice import load
from firstsight.perceive.stage import FrameStage


def main() -> None:
    """Works until the input ends. What libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    say(answers, {"ready": True})
    stage: type[FrameStage] | None = None
    method: Any = None
    for line in sys.stdin:
        message = json.loads(line)
        if "stage" in message:
            stage = stage_named(message["stage"])
            method = None if stage.role is None else load(message["use"])
            continue
        assert stage is not None
        say(answers, {"frame": message["frame"]} | worked(stage, method, message))


def stage_named(target: str) -> type[FrameStage]:
    module, name = target.split(":")
    return getattr(import_module(module), name)


def worked(stage: type[FrameStage], method: Any, message: dict[str, Any]) -> dict[str, str]:
    """What became of a frame: why it could not be used, "" where it could, or the defect."""
    inputs = Path(message["inputs"])
    try:
        stage.solve(method, read_state(inputs), Path(message["output"]))
        return {"reason": ""}
    except InputError as error:
        return {"reason": str(error)}
    except Exception:
        return {"defect": traceback.format_exc()}
    finally:
        inputs.unlink(missing_ok=True)


def say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
