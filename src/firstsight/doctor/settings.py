"""The command that suits a recording, from what was found."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from firstsight.doctor import calibration, lidar, motion, sensors
from firstsight.doctor.samples import Samples
from firstsight.recordings.opening import available_sensors, open_recording
from firstsight.recordings.recording import Recording
from firstsight.run_folder import Finding

SENSOR_OF_CHECK = {
    calibration.STEREO_ROWS: "stereo",
    sensors.DEPTH: "depth",
    lidar.SWEEPS: "lidar",
    lidar.ALIGNMENT: "lidar",
}
"""The sensor that can be left out where a check fails; other faults have to be fixed."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user says of a recording, as of `open_recording`."""

    frames: str | None = None
    fov_deg: float | None = None
    depth_per_metre: float | None = None

    def open(self, source: str) -> Recording:
        """Opens the recording. Raises InputError where it cannot be used."""
        return open_recording(source, frames=self.frames, fov_deg=self.fov_deg, depth_per_metre=self.depth_per_metre)


def proposed_command(samples: Samples, findings: Sequence[Finding], source: str, given: Given) -> str:
    """`firstsight perceive` with the settings that the findings suggest on top of those given."""
    words = ["firstsight", "perceive", shlex.quote(source)]
    step = motion.proposed_step(samples) if samples.recording.rig.cameras else 1
    chosen = proposed_frames(given.frames, step)
    if chosen is not None:
        words += ["--frames", chosen]
    usable = usable_sensors(samples, {finding.check for finding in findings if finding.verdict == "unfit"})
    if usable is not None:
        words += ["--sensors", *usable]
    if given.fov_deg is not None:
        words += ["--fov-deg", f"{given.fov_deg:g}"]
    per_metre = given.depth_per_metre
    if any(finding.check == sensors.DEPTH_SCALE and finding.verdict == "unfit" for finding in findings):
        found, taken = sensors.measured_scale(samples), samples.recording.depth_per_metre
        per_metre = sensors.fitting_depth_per_metre(found, taken) or per_metre
    if per_metre is not None:
        words += ["--depth-per-metre", f"{per_metre:g}"]
    return " ".join(words)


def proposed_frames(frames: str | None, step: int) -> str | None:
    """The given start:stop:step with every `step`-th of its frames."""
    if step == 1:
        return frames
    start, stop, given = [*(frames or "").split(":"), "", "", ""][:3]
    return f"{start}:{stop}:{int(given or 1) * step}"


def usable_sensors(samples: Samples, unfit: set[str]) -> list[str] | None:
    """The sensors without those whose own check failed; None where all can stay, or nothing would be left."""
    present = available_sensors(samples.recording)
    broken = {SENSOR_OF_CHECK[check] for check in unfit & SENSOR_OF_CHECK.keys()}
    usable = [name for name in present if name not in broken]
    return usable if usable and len(usable) < len(present) else None
