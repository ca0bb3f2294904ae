"""All checks of one recording."""

from dataclasses import replace

from firstsight.doctor import calibration, clocks, focal_length, images, lidar, motion, sensors
from firstsight.doctor.samples import Samples, gather
from firstsight.recordings.recording import Recording
from firstsight.run_folder import Finding

SURE_FRAMES = 20
STATISTICAL = frozenset({lidar.ALIGNMENT, images.FRAME_ORDER, focal_length.CHECK})
"""Checks that compare averages over frames, which chance decides where there are few."""


def examine(recording: Recording) -> tuple[Finding, ...]:
    """What decides whether the recording can be used, measured on a bounded number of its frames."""
    return findings_of(gather(recording))


def findings_of(samples: Samples) -> tuple[Finding, ...]:
    """The findings in the order in which a person would look: is it all there, can it be seen, does it fit together."""
    recording = samples.recording
    found = [sensors.length(samples), sensors.readability(samples), clocks.clock(recording)]
    if samples.images:
        found += [check(samples) for check in (images.colour, images.exposure, images.sharpness)]
    if samples.pairs:
        found += [check(samples) for check in (images.texture, images.repeated_frames, images.frame_order)]
        found += [motion.image_motion(samples)]
    if samples.wide and not motion.is_still(samples):
        found += [motion.parallax(samples)]
    if recording.rig.cameras:
        found += [calibration.calibration(samples)]
    if samples.wide and not motion.is_still(samples):
        found += [focal_length.focal_length(samples)]
    if recording.rig.stereo is not None:
        found += [calibration.stereo_rows(samples)]
    if recording.depth is not None:
        found += [sensors.depth_coverage(samples), sensors.depth_scale(samples)]
    if recording.scans is not None:
        found += [lidar.sweeps(samples)]
    if samples.images and samples.scans:
        found += [lidar.alignment(samples)]
    if recording.odometry is not None:
        found += [sensors.odometry(samples)]
    return tuple(hesitant(finding, len(recording)) for finding in found if finding is not None)


def hesitant(finding: Finding, frames: int) -> Finding:
    """The finding; of a recording too short to tell, a note in the place of a verdict that a few frames decide by chance."""
    if frames >= SURE_FRAMES or finding.verdict != "unfit" or finding.check not in STATISTICAL:
        return finding
    measured = f"too few frames to tell ({frames}, {SURE_FRAMES} would): {finding.measured}"
    return replace(finding, verdict="note", measured=measured, advice="record more frames, or look at the report")
