"""Processes that do the jobs of a run, as many as there are cores.

A worker is a Python of its own that opens the recording and the run folder, is told jobs on its standard input, one JSON line
each, and answers on its standard output. It ends when its input does: none outlives a run that was killed. They are
processes and not threads because numba's kernels hold the interpreter's lock, and not forked because the threads of OpenMP
and OpenCV do not survive that.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from queue import Queue
from threading import Thread
from typing import Any

import cv2
import torch

from firstsight.perceive.execution.jobs import Answer, Job

# A worker takes seconds to start, so that it must have some frames to do.
FRAMES_PER_WORKER = 8
COMMAND = "from firstsight.perceive.execution.worker import main; main()"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def workers_for(frames: int, cores: int) -> int:
    """How many workers a run of so many frames has; 0 where this process does it alone."""
    count = min(cores, frames // FRAMES_PER_WORKER)
    return count if count > 1 else 0


@contextmanager
def one_thread() -> Generator[None]:
    """PyTorch and OpenCV use one thread within the block, so that results do not depend on the cores."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


class Worker:
    """One process, and the job that it is doing. Its lines go to a queue that all workers share, "" at its end."""

    def __init__(self, begin: dict[str, Any], lines: "Queue[tuple[Worker, str]]") -> None:
        self.job: Job | None = None
        self.alive = True
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self._reader = Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()
        self._tell(begin)

    def _read(self, lines: "Queue[tuple[Worker, str]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.put((self, line))
        lines.put((self, ""))

    def begin(self, job: Job) -> None:
        self.job = job
        self._tell(job)

    def _tell(self, message: Any) -> None:
        """Sends a line; one that has died is noticed when its lines end."""
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
    """The workers of a run, told by `begin` what the run is. Close them at its end."""

    def __init__(self, count: int, begin: dict[str, Any]) -> None:
        self._lines: Queue[tuple[Worker, str]] = Queue()
        self._workers = [Worker(begin, self._lines) for _ in range(count)]

    def any_alive(self) -> bool:
        return any(worker.alive for worker in self._workers)

    def any_busy(self) -> bool:
        return any(worker.job for worker in self._workers)

    def any_free(self) -> bool:
        return any(worker.alive and worker.job is None for worker in self._workers)

    def hand(self, job: Job) -> None:
        """Gives the job to a free worker."""
        next(worker for worker in self._workers if worker.alive and worker.job is None).begin(job)

    def hear(self) -> tuple[Job | None, Answer | None]:
        """Waits for a worker's next line and returns its job with what it says; None instead where the worker has died."""
        worker, line = self._lines.get()
        job = worker.job
        if not line:
            worker.alive, worker.job = False, None
            return job, None
        said = json.loads(line)
        if "frames" not in said:
            worker.job = None
        return job, said

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.end()
