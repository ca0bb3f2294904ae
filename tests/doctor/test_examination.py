"""Whole recordings: sound ones pass, spoiled ones are called what they are."""

from dataclasses import replace

import numpy as np
import pytest

from firstsight.doctor import examine
from firstsight.doctor.examination import findings_of
from firstsight.doctor.samples import Samples, gather
from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Channel, Recording, select
from firstsight.run_folder import Finding


def by_check(recording: Recording) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(recording)}


def with_changed(samples: Samples, recording: Recording) -> dict[str, Finding]:
    """The findings where only the calibration differs, so that nothing need be loaded and tracked again."""
    return {finding.check: finding for finding in findings_of(replace(samples, recording=recording))}


def unfit(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.verdict == "unfit"}


def with_intrinsics(recording: Recording, scale: float = 1.0, shift_px: tuple[float, float] = (0.0, 0.0)) -> Recording:
    """The same images with another focal length and principal point written beside them."""

    def wrong(intrinsics: np.ndarray) -> np.ndarray:
        changed = intrinsics * np.array([[scale, scale, 1.0], [scale, scale, 1.0], [1.0, 1.0, 1.0]])
        changed[:2, 2] += shift_px
        return changed

    cameras = tuple(replace(camera, intrinsics=wrong(camera.intrinsics)) for camera in recording.rig.cameras)
    return replace(recording, rig=replace(recording.rig, cameras=cameras))


@pytest.mark.parametrize("world", ["street", "rooms", "handheld"])
def test_a_sound_recording_passes(world: str, request: pytest.FixtureRequest):
    samples = request.getfixturevalue(f"{world}_samples")
    assert unfit(with_changed(samples, samples.recording)) == set()


@pytest.mark.parametrize("scale", [0.7, 1.35])
def test_a_wrong_focal_length_is_measured_against_depth(handheld_samples: Samples, scale: float):
    handheld = handheld_samples.recording
    findings = with_changed(handheld_samples, with_intrinsics(handheld, scale))
    assert unfit(findings) == {"focal length"}
    assert "intrinsics do not fit" in findings["focal length"].measured
    true_px = handheld.rig.cameras[0].intrinsics[0, 0]
    estimated_px = float(findings["focal length"].measured.split("about ")[1].split(" px")[0])
    assert abs(estimated_px / true_px - 1) < 0.15


@pytest.mark.parametrize("scale", [0.7, 1.35])
def test_a_wrong_focal_length_is_measured_against_stereo(rooms_samples: Samples, scale: float):
    wrong = with_intrinsics(rooms_samples.recording, scale)
    assert unfit(with_changed(rooms_samples, wrong)) == {"focal length"}


@pytest.mark.parametrize(
    "wrong", [{"scale": 1.3}, {"scale": 0.75}, {"shift_px": (40.0, 0.0)}, {"shift_px": (-40.0, 0.0)}]
)
def test_wrong_intrinsics_are_measured_against_the_lidar(street_samples: Samples, wrong: dict):
    findings = with_changed(street_samples, with_intrinsics(street_samples.recording, **wrong))
    assert "LiDAR-camera alignment" in unfit(findings)
    assert "wrong intrinsics" in findings["LiDAR-camera alignment"].advice


def test_shuffled_timestamps(street: Recording):
    shuffled = np.random.default_rng(0).permutation(street.stamps_ns)
    findings = by_check(replace(street, stamps_ns=shuffled))
    assert unfit(findings) == {"clock"}
    assert "timestamps are not in order" in findings["clock"].measured


def test_shuffled_frames(rooms: Recording):
    order = np.random.default_rng(0).permutation(len(rooms))
    mixed = replace(select(rooms, order.tolist()), stamps_ns=rooms.stamps_ns)
    findings = by_check(mixed)
    assert "frame order" in unfit(findings)
    assert findings["clock"].verdict == "ok"


def test_a_still_camera(rooms: Recording):
    """The same view with fresh sensor noise in every frame."""
    noise = np.random.default_rng(0)
    views = {name: channel[0].astype(np.float64) for name, channel in rooms.images.items()}

    def seen(name: str) -> Channel:
        frames = [
            np.clip(views[name] + noise.normal(0, 2, views[name].shape), 0, 255).astype(np.uint8) for _ in range(20)
        ]
        return Channel(20, frames.__getitem__)

    still = replace(rooms, stamps_ns=rooms.stamps_ns[:20], odometry=None, images={name: seen(name) for name in views})
    findings = by_check(still)
    assert unfit(findings) == {"image motion"}
    assert "still recording: the camera does not move" in findings["image motion"].measured


def test_a_frozen_stream(rooms: Recording):
    frozen = replace(select(rooms, [3] * 20), stamps_ns=rooms.stamps_ns[:20])
    assert "repeated frames" in unfit(by_check(frozen))


def test_swapped_stereo(rooms: Recording):
    left, right = rooms.rig.cameras
    swapped = {left.name: rooms.images[right.name], right.name: rooms.images[left.name]}
    findings = by_check(replace(rooms, images=swapped))
    assert "swapped" in findings["stereo rows"].advice
    assert "stereo rows" in unfit(findings)


def test_stereo_rows_that_do_not_correspond(rooms: Recording):
    left, right = (camera.name for camera in rooms.rig.cameras)
    off = replace(
        rooms,
        images={left: rooms.images[left], right: rooms.images[right].map(lambda image: np.roll(image, 3, axis=0))},
    )
    finding = by_check(off)["stereo rows"]
    assert finding.verdict == "unfit"
    assert abs(float(finding.measured.split()[3]) - 3) < 0.2


def test_frames_that_cannot_be_read_are_counted(street: Recording):
    name = street.rig.cameras[0].name
    whole = street.images[name]

    def load(index: int):
        if index in (4, 5):
            raise InputError(f"frame {index}: not a readable image; copy it again")
        return whole[index]

    findings = by_check(replace(street, images={**street.images, name: Channel(len(whole), load)}))
    assert findings["readable frames"].verdict == "note"
    assert findings["readable frames"].measured.startswith("2 sampled frames cannot be read")
    assert unfit(findings) == set()


def test_nothing_readable_is_unfit_and_no_traceback(street: Recording):
    def load(index: int):
        raise InputError(f"frame {index}: not a readable image; copy it again")

    broken = Channel(len(street), load)
    images = dict.fromkeys(street.images, broken)
    assert "readable frames" in unfit(by_check(replace(street, images=images, scans=broken)))


def test_sensors_without_a_camera(street: Recording):
    lidar_only = replace(street, images={}, rig=replace(street.rig, cameras=(), stereo=None))
    assert "LiDAR sweeps" in by_check(lidar_only)
    assert unfit(by_check(lidar_only)) == set()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_recordings(street: Recording, frames: int):
    findings = by_check(select(street, range(frames)))
    assert findings["length"].verdict == ("unfit" if frames == 1 else "note")


def test_slow_motion_brings_a_proposal(rooms: Recording):
    """Every frame five times, each a fifth of the way: the images hardly move."""
    name = rooms.rig.cameras[0].name

    def between(index: int) -> np.ndarray:
        return np.roll(rooms.images[name][0], index // 8, axis=1)

    slow = replace(
        rooms,
        rig=replace(rooms.rig, cameras=rooms.rig.cameras[:1], stereo=None),
        stamps_ns=np.arange(400, dtype=np.int64) * 10**7,
        images={name: Channel(400, between)},
        odometry=None,
    )
    finding = by_check(slow)["image motion"]
    assert finding.verdict == "note"
    assert "--frames ::" in finding.advice


def test_euroc_still(shared_data):
    findings = by_check(open_recording(str(shared_data / "euroc_mh01_still")))
    assert unfit(findings) == {"image motion"}
    assert "still recording" in findings["image motion"].measured
    assert float(findings["stereo rows"].measured.split()[3]) < 0.3


def test_kitti_drive(shared_data):
    drive = open_recording(str(shared_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0000_sync"))
    samples = gather(drive)
    assert unfit(with_changed(samples, drive)) == set()
    for wrong in (with_intrinsics(drive, scale=1.3), with_intrinsics(drive, shift_px=(100.0, 0.0))):
        assert unfit(with_changed(samples, wrong)) == {"LiDAR-camera alignment"}


def test_seven_scenes(shared_data):
    recording = open_recording(str(shared_data / "seven_scenes"))
    samples = gather(recording)
    assert unfit(with_changed(samples, recording)) == set()
    for scale in (0.7, 1.3):
        assert unfit(with_changed(samples, with_intrinsics(recording, scale))) == {"focal length"}
