"""Processes that work on frames which do not depend on each other.

A worker is a Python of its own that is told on its standard input which stage it works for and which frames, one JSON line
each, and answers on its standard output. What it needs of a frame lies in a file of the run's working folder. A worker ends
when its input does: none outlives a run that was killed. They are processes and not threads because numba's kernels hold
the interpreter's lock, and not forked because the threads of OpenMP and OpenCV do not survive that.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import cv2
import torch

from firstsight.formats.storage.state import write_state
from firstsight.perceive.stage import FrameStage
from firstsight.roles.state import State

# Frames that a worker holds at a time: it works on one while the next waits.
QUEUED = 2
# A worker takes seconds to start, so that it must have some frames to do.
FRAMES_PER_WORKER = 6
COMMAND = "from firstsight.perceive.execution.worker import main; main()"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def one_thread() -> Generator[None]:
    """PyTorch and OpenCV use one thread within the block, so that a frame's result does not depend on the cores."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


class Worker:
    """One process; `frames` are those that it holds. Its answers go to a queue that all workers share."""

    def __init__(self, answers: "Queue[tuple[Worker, str]]") -> None:
        self.frames: list[int] = []
        self.ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self._reader = Thread(target=self._read, args=(answers,), daemon=True)
        self._reader.start()

    def _read(self, answers: "Queue[tuple[Worker, str]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answers.put((self, line))
        answers.put((self, ""))

    def tell(self, message: dict[str, object]) -> None:
        """Sends a line; one that has died is noticed when its answers end."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Ends the process, which may be starting still. Files are written atomically, so that none is left half written."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()


class Workers:
    """The workers of a run. Close them at its end."""

    def __init__(self, count: int, folder: Path) -> None:
        self.folder = folder
        self._answers: Queue[tuple[Worker, str]] = Queue()
        self._workers = [Worker(self._answers) for _ in range(count)]
        self._lost: list[int] = []

    def begin(self, stage: FrameStage) -> None:
        """The frames to come are those of this stage."""
        target = f"{type(stage).__module__}:{type(stage).__qualname__}"
        for worker in self._workers:
            worker.tell({"stage": target, "use": stage.method_of(stage.work.use)})

    def has_free(self) -> bool:
        """Whether a worker has started that could take a frame."""
        return any(worker.ready and len(worker.frames) < QUEUED for worker in self._workers)

    def busy(self) -> bool:
        """Whether frames that were handed out are not back."""
        return bool(self._lost) or any(worker.frames for worker in self._workers)

    def hand(self, frame: int, inputs: State, output: Path) -> None:
        """Gives the frame to the worker that has least to do."""
        free = [worker for worker in self._workers if worker.ready]
        worker = min(free, key=lambda worker: len(worker.frames))
        path = self.folder / f"{frame:06d}.npz"
        write_state(path, inputs)
        output.parent.mkdir(parents=True, exist_ok=True)
        worker.frames.append(frame)
        worker.tell({"frame": frame, "inputs": str(path), "output": str(output)})

    def collect(self, wait: bool = False) -> dict[int, str]:
        """The frames that have come back, with why they could not be used ("" where they could); `wait` for at least one."""
        back: dict[int, str] = {}
        while True:
            try:
                worker, line = self._answers.get(block=wait and not back and not self._lost)
            except Empty:
                return back
            self._hear(worker, line, back)
            wait = wait and self.busy()

    def take_lost(self) -> list[int]:
        """Frames of workers that died, which someone else must do."""
        lost, self._lost = self._lost, []
        return lost

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.end()

    def _hear(self, worker: Worker, line: str, back: dict[int, str]) -> None:
        """Takes one answer; "" is the end of a worker."""
        if not line:
            worker.ready = False
            self._lost += worker.frames
            worker.frames = []
            return
        answer = json.loads(line)
        if "ready" in answer:
            worker.ready = True
            return
        if "defect" in answer:
            raise RuntimeError(f"a worker failed on frame {answer['frame']}:\n{answer['defect']}")
        worker.frames.remove(answer["frame"])
        back[answer["frame"]] = answer["reason"]
