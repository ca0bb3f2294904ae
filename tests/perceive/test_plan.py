"""Which stages run: as they always did for every combination of sensors, and with any method exchanged."""

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.perceive import choice, stage
from firstsight.perceive.plan import (
    Skip,
    alternatives,
    check_use,
    describe_plan,
    make_plan,
    scale_of,
    unused,
    waits_for,
)
from firstsight.perceive.stages.depth import DepthStage, MultiViewDepth, StereoDepth
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.stages.lidar_camera_motion import LidarCameraMotion
from firstsight.perceive.stages.listing import STAGES
from firstsight.perceive.stages.loops import CameraLoops
from firstsight.perceive.stages.motion import CameraMotion, LidarMotion
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Channel, Lidar, Recording, Rig
from firstsight.roles import FlowEstimator, Odometry, Trajectory

NOTHING = "-depth -flow -motion -loops -moving -map -occupancy -places -mesh"
LIDAR = "-depth -flow LidarMotion LidarLoops -moving CloudStage OccupancyStage PlacesStage -mesh"
RECORDED = "-depth -flow RecordedMotion -loops -moving -map -occupancy -places -mesh"
ONE_CAMERA = (
    "FlowStage CameraMotion CameraLoops MultiViewDepth MovingStage CloudStage OccupancyStage PlacesStage MeshStage"
)
ONE_SWEEP = "LidarDepth -flow -motion -loops -moving -map -occupancy -places -mesh"
CAMERA_AND_LIDAR = (
    "LidarDepth FlowStage LidarCameraMotion LidarLoops MovingStage CloudStage OccupancyStage PlacesStage MeshStage"
)
ONE_DEPTH = "SensorDepth -flow -motion -loops -moving -map -occupancy -places -mesh"
DEPTH_CAMERA = "SensorDepth FlowStage DepthCameraMotion DepthCameraLoops MovingStage CloudStage OccupancyStage PlacesStage MeshStage"
ONE_PAIR = "StereoDepth -flow -motion -loops -moving -map -occupancy -places -mesh"
STEREO_PAIR = "StereoDepth FlowStage DepthCameraMotion DepthCameraLoops MovingStage CloudStage OccupancyStage PlacesStage MeshStage"

# Sensors -> stages in their order, "-" for a skipped one, and the scale of the run: what the plan described when all of it was
# written out by hand. "alone" is a recording of one frame.
TABLE = {
    "alone": (NOTHING, "metric"),
    "": (NOTHING, "metric"),
    "odometry alone": (RECORDED, "metric"),
    "odometry": (RECORDED, "metric"),
    "lidar alone": (NOTHING, "metric"),
    "lidar": (LIDAR, "metric"),
    "lidar odometry alone": (NOTHING, "metric"),
    "lidar odometry": (LIDAR, "metric"),
    "camera alone": (NOTHING, "metric"),
    "camera": (ONE_CAMERA, "unknown"),
    "camera odometry alone": (NOTHING, "metric"),
    "camera odometry": (ONE_CAMERA, "metric"),
    "camera lidar alone": (ONE_SWEEP, "metric"),
    "camera lidar": (CAMERA_AND_LIDAR, "metric"),
    "camera lidar odometry alone": (ONE_SWEEP, "metric"),
    "camera lidar odometry": (CAMERA_AND_LIDAR, "metric"),
    "camera depth alone": (ONE_DEPTH, "metric"),
    "camera depth": (DEPTH_CAMERA, "metric"),
    "camera depth odometry alone": (ONE_DEPTH, "metric"),
    "camera depth odometry": (DEPTH_CAMERA, "metric"),
    "camera depth lidar alone": (ONE_DEPTH, "metric"),
    "camera depth lidar": (DEPTH_CAMERA, "metric"),
    "camera depth lidar odometry alone": (ONE_DEPTH, "metric"),
    "camera depth lidar odometry": (DEPTH_CAMERA, "metric"),
    "stereo alone": (ONE_PAIR, "metric"),
    "stereo": (STEREO_PAIR, "metric"),
    "stereo odometry alone": (ONE_PAIR, "metric"),
    "stereo odometry": (STEREO_PAIR, "metric"),
    "stereo lidar alone": (ONE_PAIR, "metric"),
    "stereo lidar": (STEREO_PAIR, "metric"),
    "stereo lidar odometry alone": (ONE_PAIR, "metric"),
    "stereo lidar odometry": (STEREO_PAIR, "metric"),
    "stereo depth alone": (ONE_DEPTH, "metric"),
    "stereo depth": (DEPTH_CAMERA, "metric"),
    "stereo depth odometry alone": (ONE_DEPTH, "metric"),
    "stereo depth odometry": (DEPTH_CAMERA, "metric"),
    "stereo depth lidar alone": (ONE_DEPTH, "metric"),
    "stereo depth lidar": (DEPTH_CAMERA, "metric"),
    "stereo depth lidar odometry alone": (ONE_DEPTH, "metric"),
    "stereo depth lidar odometry": (DEPTH_CAMERA, "metric"),
}


def channel(frames: int) -> Channel:
    return Channel(frames, lambda _: None)


def recording_with(sensors: str) -> Recording:
    """Five frames, or one, of which nothing can be decoded: a plan must not look at any."""
    frames = 1 if "alone" in sensors else 5
    names = ("left", "right") if "stereo" in sensors else ("left",) if "camera" in sensors else ()
    cameras = tuple(
        Camera(name=name, size=(60, 80), intrinsics=np.eye(3), body_from_camera=BODY_FROM_FORWARD_CAMERA)
        for name in names
    )
    lidar = Lidar(body_from_lidar=np.eye(4)) if "lidar" in sensors else None
    return Recording(
        source="test",
        format="test",
        rig=Rig(cameras=cameras, stereo=names if len(names) == 2 else None, lidar=lidar),
        stamps_ns=np.arange(frames, dtype=np.int64),
        images={name: channel(frames) for name in names},
        depth=channel(frames) if "depth" in sensors else None,
        scans=channel(frames) if "lidar" in sensors else None,
        odometry=np.tile(np.eye(4), (frames, 1, 1)) if "odometry" in sensors else None,
    )


def brief(plan: list) -> str:
    return " ".join(f"-{s.name}" if isinstance(s, Skip) else s.__name__ for s in plan)


@pytest.mark.parametrize("sensors", TABLE)
def test_every_combination_of_sensors(sensors: str):
    plan, scale = TABLE[sensors]
    assert brief(make_plan(recording_with(sensors))) == plan
    assert scale_of(recording_with(sensors)) == scale


def reason(sensors: str, name: str) -> str:
    return next(s.reason for s in make_plan(recording_with(sensors)) if isinstance(s, Skip) and s.name == name)


def test_reasons_name_what_is_missing():
    assert reason("lidar", "flow") == reason("lidar", "depth") == "needs a camera"
    assert reason("camera alone", "flow") == "needs two frames or more"
    assert reason("lidar alone", "motion") == "needs two frames or more"
    assert reason("camera alone", "depth") == "needs a depth sensor, or a stereo pair, or a LiDAR"
    assert reason("lidar", "mesh") == "needs depth"
    assert reason("odometry", "loops") == "needs motion measured by a camera, or motion measured by a LiDAR"


EXCHANGED = [
    ("stereo", "lucas-kanade", FlowStage),
    ("stereo depth", "semi-global-matching", StereoDepth),
    ("camera", "plane-sweep", MultiViewDepth),
    ("stereo lidar", "lidar-odometry", LidarCameraMotion),
    ("lidar", "lidar-odometry", LidarMotion),
    ("camera", "monocular-odometry", CameraMotion),
]


@pytest.mark.parametrize(("sensors", "name", "expected"), EXCHANGED)
def test_a_named_method_does_its_stage_s_work(sensors: str, name: str, expected: type):
    """Also where the sensors would offer another: motion goes by what the frames offer."""
    plan = make_plan(recording_with(sensors), (name,))
    working = next(s for s in plan if not isinstance(s, Skip) and s.name == expected.name)
    assert working is expected
    assert working.method_of((name,)) == name
    assert unused(plan, (name,)) == []


@pytest.mark.parametrize("name", ["monocular-odometry", "plane-sweep", "lidar-odometry", "depth-completion"])
def test_a_named_method_that_the_sensors_do_not_suit_is_remarked_upon(name: str):
    """One camera's scale is not that of stereo: its odometry would not fit the depth."""
    plan = make_plan(recording_with("stereo"), (name,))
    assert brief(plan) == STEREO_PAIR
    assert unused(plan, (name,)) == [f"--use {name}: not used, no stage of this recording takes it"]


def test_every_role_can_be_exchanged():
    """The stages that have a role take their own default by name."""
    for each in STAGES:
        if each.role is not None and each.default:
            assert each.method_of((each.default,)) == each.default
            assert each.named_of((each.default,)) == each.default
            check_use((each.default,))


class Compass(Odometry):
    """An odometry of one's own, which needs no more than an image."""

    needs = frozenset({"image"})
    scale = "metric"

    def step(self, observation):
        pass

    def trajectory(self) -> Trajectory:
        raise NotImplementedError

    def state(self):
        return {}

    def restore(self, state):
        pass


class NewStage(stage.Stage):
    name = "masks"
    needs = frozenset({stage.CAMERA, stage.DEPTH})
    gives = frozenset({"masks"})
    role = Compass
    default = "compass"

    def process(self, frame):
        pass


class AfterIt(NewStage):
    name = "boxes"
    needs = frozenset({"masks"})


def test_a_new_stage_and_a_new_role_need_no_edit_of_the_plan(monkeypatch):
    monkeypatch.setattr(stage, "kind", {"compass": Compass}.get)
    stages = (AfterIt, *STAGES, NewStage)
    plan = make_plan(recording_with("stereo"), (), stages)
    assert brief(plan) == f"{STEREO_PAIR} NewStage AfterIt"
    lacking = make_plan(recording_with("lidar"), (), stages)
    assert [s.reason for s in lacking if isinstance(s, Skip) and s.name in ("masks", "boxes")] == [
        "needs masks",
        "needs a camera and depth",
    ]


class Careful(NewStage):
    """It needs what the first gives, heeds that and what the second gives."""

    name = "careful"
    needs = frozenset({"masks"})
    heeds = frozenset({"masks", "lines"})


class Lines(NewStage):
    name = "lines"
    gives = frozenset({"lines"})


def test_a_stage_waits_for_what_it_needs_and_for_what_it_heeds():
    waits = waits_for([NewStage, Skip("flow", ""), Lines, AfterIt, Careful])
    assert {name: sorted(others) for name, others in waits.items()} == {
        "masks": [],
        "lines": [],
        "boxes": ["masks"],
        "careful": ["boxes", "lines", "masks"],
    }


def test_a_metric_odometry_of_one_camera_may_stand_beside_stereo(monkeypatch):
    monkeypatch.setattr(stage, "kind", {"compass": Compass}.get)
    plan = make_plan(recording_with("stereo"), ("compass",))
    assert brief(plan) == STEREO_PAIR
    assert [s.method_of(("compass",)) for s in plan if s.name == "motion"] == ["compass"]


def test_the_scale_follows_from_the_motion_that_is_used():
    assert scale_of(recording_with("camera lidar"), ("lidar-odometry",)) == "metric"
    assert scale_of(recording_with("camera"), ()) == "unknown"
    assert CameraLoops in make_plan(recording_with("camera"))


def test_what_no_stage_takes_is_refused_in_one_line():
    with pytest.raises(InputError, match="no such method"):
        check_use(("magic",))
    with pytest.raises(InputError, match=r"no stage takes it; use one of semi-global-matching, .*tsdf") as refused:
        check_use(("ekf-slam",))
    assert "rbm" not in str(refused.value)
    with pytest.raises(InputError, match="must be trained first"):
        check_use(("monodepth",))


def test_the_plan_in_words():
    described = dict(describe_plan(recording_with("stereo")))
    assert described["depth"] == "semi-global-matching"
    assert described["loops"] == "loop-closing"
    assert dict(describe_plan(recording_with("odometry")))["map"] == "skipped: needs depth or LiDAR points"


def test_the_alternatives_of_a_stage_stand_together():
    assert list(alternatives(STAGES)) == list(dict.fromkeys(s.name for s in STAGES))
    assert all(issubclass(s, DepthStage) for s in alternatives(STAGES)["depth"])
    assert choice.kind("lucas-kanade").__mro__[1] is FlowEstimator
