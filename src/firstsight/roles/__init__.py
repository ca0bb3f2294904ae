"""What a method can be. Each role is one abstract class with one thing to do; method classes are final.

Images are float32 RGB in [0, 1], (batch, 3, height, width). Depth is z in metres, disparity and flow are in pixels of the
given grid, every value with a bool `valid`. Poses are `a_from_b`. See docs/conventions.md.
"""

from firstsight.roles.depth import (
    Depth,
    DepthCompleter,
    DepthEstimator,
    Disparity,
    MultiViewDepthEstimator,
    StereoEstimator,
)
from firstsight.roles.discovery import Discoverer
from firstsight.roles.flow import Flow, FlowEstimator
from firstsight.roles.images import Images
from firstsight.roles.mapping import Mapper
from firstsight.roles.motion import MotionSegmenter, MovingObjects, Observation, Odometry, Trajectory
from firstsight.roles.representation import Encoder
from firstsight.roles.slam import ClosedLoops, LandmarkSlam, LoopCloser, PoseGraphOptimiser, Reconstructor

__all__ = [
    "ClosedLoops",
    "Depth",
    "DepthCompleter",
    "DepthEstimator",
    "Discoverer",
    "Disparity",
    "Encoder",
    "Flow",
    "FlowEstimator",
    "Images",
    "LandmarkSlam",
    "LoopCloser",
    "Mapper",
    "MotionSegmenter",
    "MovingObjects",
    "MultiViewDepthEstimator",
    "Observation",
    "Odometry",
    "PoseGraphOptimiser",
    "Reconstructor",
    "StereoEstimator",
    "Trajectory",
]
