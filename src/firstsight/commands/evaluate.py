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
                "METHOD|TRAINING|MODEL.onnx|RUN",
                "A method, the folder of a training, a network with its description, or a run folder.",
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
    beside: Annotated[tuple[str, ...], option("METHOD|TRAINING|MODEL.onnx|RUN ...")] = (),
    out: Annotated[Path | None, option("FILE.json")] = None,
    frames: Frames = None,
    cap_m: float = 80.0,
    crop: Literal["none", "garg"] = "none",
    json: Switch = False,
) -> None:
    """Measure a method, a training, a network or a run against the truth of a recording.

    Args:
        beside: Others to measure on the same recording; all are shown in one table.
        out: The JSON file to write; for a training, by default evaluation.json in its folder.
        cap_m: The largest depth that is judged, in metres.
        crop: The part of the image in which depth is judged: all of it (none), or Garg's crop (garg).
        json: Print the metrics as JSON.
    """
    from firstsight.commands.work import evaluate as work
    from firstsight.formats.storage.atomic import write_json
    from firstsight.perceive.summary import print_comparison, print_metrics

    protocol = work.Protocol(cap_m=cap_m, crop=crop)
    subject = work.subject_of(method, source)
    subjects = [subject, *(work.subject_of(name, subject.source) for name in dict.fromkeys(beside) if name != method)]
    found = {one.name: work.measured(one, frames=frames, protocol=protocol) for one in subjects}
    every = [work.described(name, subject.source, metrics) for name, metrics in found.items()]
    content = every if beside else every[0]
    alone_in_folder = subject.kind == "training" and Path(method).is_dir() and not beside
    path = out or (Path(method) / "evaluation.json" if alone_in_folder else None)
    if path is not None:
        write_json(path, content)
    if json:
        say_json(content)
        return
    for one in subjects:
        say(f"{one.name}: {one.text}")
    if beside:
        print_comparison(found)
    else:
        print_metrics(found[subject.name])
    if path is not None:
        say(f"written: {path}")
