"""What `firstsight doctor` without a source prints: versions, this machine, optional parts, known conflicts."""

import os
import platform
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Literal, NamedTuple

from firstsight import __version__
from firstsight.extras import install_command
from firstsight.terminal import coloured, results, say_json, table

PARTS = ("torch", "numpy", "scipy", "numba", "pillow", "rosbags", "trimesh", "embreex", "kiss-icp", "tyro")
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
EXTRAS = {
    "rerun": ("rerun-sdk", "view"),
    "matplotlib": ("matplotlib", "view"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "huggingface_hub": ("huggingface_hub", "hub"),
    "onnx": ("onnx", "export"),
    "onnxscript": ("onnxscript", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "ray": ("ray", "fleet"),
    "evo": ("evo", "dev"),
}
"""The module of each optional part, with its distribution and the extra that installs it."""

Verdict = Literal["ok", "note", "problem"]
COLOURS: dict[Verdict, str] = {"ok": "green", "note": "yellow", "problem": "red"}


class Line(NamedTuple):
    part: str
    verdict: Verdict
    found: str
    advice: str = ""


def print_installation(*, as_json: bool = False) -> None:
    """Prints the table, or its rows as JSON; nothing that is missing or broken keeps the rest from being shown."""
    lines = describe()
    if as_json:
        say_json([line._asdict() for line in lines])
        return
    made = table("part", "", "found", "what to do")
    for part, verdict, found, advice in lines:
        made.add_row(part, coloured(verdict, COLOURS), found, advice)
    results().print(made)


def describe() -> list[Line]:
    """Every line of the table."""
    return [
        Line("firstsight", "ok", __version__),
        Line("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(required(name) for name in PARTS),
        opencv(),
        processor(),
        graphics(),
        *(optional(module, *where) for module, where in EXTRAS.items()),
        torchvision(),
    ]


def version(distribution: str) -> str | None:
    """The installed version, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def import_error(module: str) -> str | None:
    """Why a module cannot be imported, None where it can. A binary built for another torch fails with RuntimeError."""
    try:
        import_module(module)
    except (ImportError, RuntimeError, OSError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def required(distribution: str) -> Line:
    found = version(distribution)
    if found is None:
        return Line(distribution, "problem", "missing", install_command())
    return Line(distribution, "ok", found)


def optional(module: str, distribution: str, extra: str) -> Line:
    found = version(distribution)
    if found is None or find_spec(module) is None:
        return Line(distribution, "note", "not installed (optional)", install_command(extra))
    return Line(distribution, "ok", found)


def opencv() -> Line:
    """Several OpenCV wheels overwrite each other's files: which functions exist is then chance."""
    present = {name: found for name in OPENCV if (found := version(name)) is not None}
    described = ", ".join(f"{name} {found}" for name, found in present.items())
    if not present:
        return Line("OpenCV", "problem", "missing", "pip install opencv-python-headless")
    if len(present) > 1:
        advice = f"two OpenCV wheels overwrite each other: pip uninstall {' '.join(present)}, then install one"
        return Line("OpenCV", "problem", described, advice)
    error = import_error("cv2")
    return (
        Line("OpenCV", "problem", f"{described}: {error}", install_command())
        if error
        else Line("OpenCV", "ok", described)
    )


def processor() -> Line:
    """Cores, threads used, and the vector instructions that the kernels profit from."""
    count = os.cpu_count() or 1
    found = f"{count} cores"
    if import_error("torch") is None:
        import torch

        found += f", {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
        if torch.backends.cpu.get_cpu_capability() == "DEFAULT" and platform.machine() in ("x86_64", "AMD64"):
            return Line("processor", "note", found, "no AVX2: everything works, slowly")
    return Line("processor", "ok", found)


def graphics() -> Line:
    error = import_error("torch")
    if error is not None:
        return Line("GPU", "problem", f"torch does not import: {error}", install_command())
    import torch

    if not torch.cuda.is_available():
        return Line("GPU", "ok", "none that torch can use; none is needed")
    return Line("GPU", "ok", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))


def torchvision() -> Line:
    """Not needed here, but one that does not fit torch breaks other packages on import."""
    if find_spec("torchvision") is None:
        return Line("torchvision", "ok", "not installed; not needed")
    found, error = version("torchvision") or "unknown version", import_error("torchvision")
    if error is None:
        return Line("torchvision", "ok", f"{found}; not needed")
    return Line("torchvision", "problem", f"{found} does not fit torch: {error}", "pip uninstall torchvision")
