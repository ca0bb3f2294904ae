"""`firstsight evaluate`: metrics against the truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from firstsight.commands.parsing import Frames, Switch, option, parse
from firstsight.terminal import say, say_json


def main(arguments: Sequence[str]) -> None:
    parse(evaluate, "evaluate", arguments)


def evaluate(
    method: Positional[
        Annotated[
            str,
            option(
                "METHOD|TRAINING|RUN", "A method, the folder of a training, or the run folder of `firstsight perceive`."
            ),
        ]
    ],
    source: Positional[
        Annotated[
            str | None,
            option("[SOURCE]", "A recording with truth, or images in folders by class. A RUN needs none."),
        ]
    ] = None,
    /,
    out: Annotated[Path | None, option("FILE.json")] = None,
    frames: Frames = None,
    cap_m: float = 80.0,
    crop: Literal["none", "garg"] = "none",
    json: Switch = False,
) -> None:
    """Measure a method, a training or a run against the truth of a recording.

    Args:
        out: The JSON file to write; for a training, by default evaluation.json in its folder.
        cap_m: The largest depth that is judged, in metres.
        crop: The part of the image in which depth is judged: all of it (none), or Garg's crop (garg).
        json: Print the metrics as JSON.
    """
    from firstsight.commands.work import evaluate as work
    from firstsight.perceive.summary import print_metrics

    subject = work.subject_of(method, source)
    metrics = work.measured(subject, frames=frames, protocol=work.Protocol(cap_m=cap_m, crop=crop))
    path = out or (Path(method) / "evaluation.json" if subject.kind == "training" and Path(method).is_dir() else None)
    if path is not None:
        work.write_metrics(path, method, subject.source, metrics)
    if json:
        say_json(work.described(method, subject.source, metrics))
        return
    say(f"{method}: {subject.text}")
    print_metrics(metrics)
    if path is not None:
        say(f"written: {path}")
