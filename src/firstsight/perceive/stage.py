"""What a stage is: what it needs and gives, the role that does its work, and what it carries from frame to frame."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from firstsight.perceive.choice import kind, label, load
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording
from firstsight.roles.state import Resumable, State

# What recordings offer, in the words in which a user is told that it is missing.
CAMERA, STEREO = "a camera", "a stereo pair"
DEPTH_SENSOR, LIDAR = "a depth sensor", "a LiDAR"
ODOMETRY, NEXT_FRAME = "recorded odometry", "two frames or more"
# What stages give. Depth is dense where images or a sensor measure it, not where LiDAR points were spread over an image.
DEPTH, DENSE_DEPTH = "depth", "dense depth"
SURFACES, FLOW = "depth or LiDAR points", "flow"
TRAJECTORY, CAMERA_MOTION, LIDAR_MOTION = "a trajectory", "motion measured by a camera", "motion measured by a LiDAR"
MOVING_OBJECTS, OCCUPANCY = "moving objects", "an occupancy map"


def sensors_of(recording: Recording) -> frozenset[str]:
    """What the recording offers to stages."""
    rig = recording.rig
    offered = {
        CAMERA: bool(rig.cameras),
        STEREO: rig.stereo is not None,
        DEPTH_SENSOR: recording.depth is not None,
        LIDAR: recording.scans is not None,
        SURFACES: recording.scans is not None,
        ODOMETRY: recording.odometry is not None,
        NEXT_FRAME: len(recording) > 1,
    }
    return frozenset(name for name, is_there in offered.items() if is_there)


class Stage(Resumable):
    """One step over all frames.

    `needs` are what the recording offers and other stages give, `heeds` what it takes into account where a stage gives it,
    `without` what makes the stage superfluous, `gives` its own products: words such as those above, which the plan only compares. `role` is the kind of method that does the work and
    `default` the catalogue's name of the usual one, "" where one must be named; a stage without a role describes itself
    there. Stages of a run do not call each other: each reads what earlier ones wrote to the run folder.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    heeds: ClassVar[frozenset[str]] = frozenset()
    without: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    role: ClassVar[type | None] = None
    default: ClassVar[str] = ""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        name = self.method_of(work.use)
        assert name is not None, "a stage was made that has no method"
        self.method = name if self.role is None else label(name)

    @classmethod
    def takes(cls, method: type) -> bool:
        """Whether a method of this class can do the stage's work."""
        return cls.role is not None and issubclass(method, cls.role)

    @classmethod
    def named_of(cls, use: tuple[str, ...]) -> str | None:
        """The last of the named methods that the stage takes."""
        return next((name for name in reversed(use) if cls.takes(kind(name))), None)

    @classmethod
    def method_of(cls, use: tuple[str, ...]) -> str | None:
        """The name of what does the work, None where it would have to be named."""
        return cls.named_of(use) or cls.default or None

    @classmethod
    def scale(cls, recording: Recording, use: tuple[str, ...]) -> Literal["metric", "unknown"]:
        """Whether the stage leaves distances in metres."""
        return "metric"

    def load_method(self) -> Any:
        """A new instance of the method that does the work."""
        name = self.method_of(self.work.use)
        assert name is not None
        return load(name)

    @abstractmethod
    def process(self, frame: int) -> None:
        """Work on one frame. An InputError flags the frame; the run goes on."""

    def finish(self) -> str:
        """Write what belongs to the whole recording; returns what the user should know about it ("" for nothing).

        Raises InputError, with the reason, where there is nothing to write: the stage then counts as skipped.
        """
        return ""

    def state(self) -> State:
        """What the stage carries from frame to frame."""
        return {}

    def restore(self, state: State) -> None:
        """Goes on from that state."""


class FrameStage(Stage):
    """A stage whose frames do not depend on each other: all cores work on them, with the same bytes as one.

    A frame's result is one image; that it is there, and whole, says that the frame is done.
    """

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.solver = None if self.role is None else self.load_method()

    @abstractmethod
    def path(self, frame: int) -> Path:
        """The file of the frame's result."""

    @abstractmethod
    def read(self, frame: int) -> State | None:
        """What `solve` needs of the frame, as arrays and plain values; None where there is nothing to be done."""

    @staticmethod
    @abstractmethod
    def solve(method: Any, inputs: State, path: Path) -> None:
        """Does the frame's work and writes its file. Depends on nothing else, so that any process can do it."""

    def is_done(self, frame: int) -> bool:
        """Whether the frame's result is there, and whole."""
        return self.work.run.holds(self.path(frame))

    def process(self, frame: int) -> None:
        inputs = None if self.is_done(frame) else self.read(frame)
        if inputs is not None:
            self.solve(self.solver, inputs, self.path(frame))
