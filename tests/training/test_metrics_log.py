"""The log of a training, and who is told of its progress."""

from pathlib import Path

import pytest

from firstsight.training.metrics_log import Callback, Callbacks, Measurement, MetricsLog, Silent, read_metrics


def test_lines_that_will_come_again_and_damaged_ones_are_dropped(tmp_path: Path):
    assert read_metrics(tmp_path) == []
    lines = [
        '{"step": 0, "loss": 4}',
        '{"step": 2, "loss": 3}',
        '{"loss": 9}',
        "[2]",
        '{"step": "2"}',
        "{",
        '{"step": 3}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 0, "loss": 4}, {"step": 2, "loss": 3}, {"step": 3}]
    log = MetricsLog(tmp_path, 2)
    assert log.damaged == 4
    log.append(3, {"loss": 2.5})
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [*lines[:2], '{"step": 3, "loss": 2.5}']
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    MetricsLog(None, 0).append(1, {"loss": 1.0})


class Counting(Measurement):
    every = 3

    def measure(self, step: int) -> dict[str, float] | None:
        return {"measured": float(step)} if step < 9 else None


class Telling(Callback):
    def __init__(self):
        self.told = []

    def on_start(self, step: int, steps: int) -> None:
        self.told.append(("start", step, steps))

    def on_step(self, step: int, numbers) -> None:
        self.told.append(("step", step, numbers))

    def on_checkpoint(self, step: int, preview) -> None:
        self.told.append(("checkpoint", step, preview))

    def on_remark(self, line: str) -> None:
        self.told.append(("remark", line))

    def numbers(self, step: int) -> dict[str, float]:
        return {"own": 10.0 * step}


def test_it_is_measured_every_so_many_steps():
    assert [dict(Counting().numbers(step)) for step in (0, 1, 3, 4, 9)] == [
        {"measured": 0},
        {},
        {"measured": 3},
        {},
        {},
    ]


def test_all_callbacks_are_called_and_the_first_makes_the_remarks(capsys: pytest.CaptureFixture):
    first, second = Telling(), Telling()
    both = Callbacks(first, second, Counting())
    both.on_start(1, 5)
    both.on_step(2, None)
    both.on_checkpoint(2, {})
    both.on_remark("careful")
    told = [("start", 1, 5), ("step", 2, None), ("checkpoint", 2, {})]
    assert (first.told, second.told) == ([*told, ("remark", "careful")], told)
    assert both.numbers(3) == {"own": 30.0, "measured": 3.0}
    assert capsys.readouterr().err == ""
    Silent().on_remark("nothing")
    Callback().on_remark("damaged")
    assert capsys.readouterr().err == "firstsight: damaged\n"
