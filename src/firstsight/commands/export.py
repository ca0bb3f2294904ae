"""`firstsight export`: a trained method for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from firstsight.commands.parsing import option, parse
from firstsight.terminal import say


def main(arguments: Sequence[str]) -> None:
    parse(export, "export", arguments)


def export(
    training: Positional[
        Annotated[
            str, option("TRAINING", "The folder of a training, or hf:OWNER/NAME for one from the Hugging Face hub.")
        ]
    ],
    /,
    out: Annotated[Path | None, option("FOLDER")] = None,
) -> None:
    """Write a trained method as torch.export and ONNX, checked against the original.

    Args:
        out: The folder to write to; by default TRAINING/export.
    """
    from firstsight.commands.work.export import export as write

    folder = out or (Path("runs") / Path(training).name if training.startswith("hf:") else Path(training)) / "export"
    for found in write(training, folder):
        batch, height, width = found.size
        differences = f"ONNX differs by {found.onnx:.1e}, torch.export by {found.torch_export:.1e}"
        say(f"{batch} x {height} x {width}: {differences}")
    say(f"written: {folder}")
