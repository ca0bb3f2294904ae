"""What a method can be. Each role is one abstract class with one thing to do; method classes are final.

Images are float32 RGB in [0, 1], (batch, 3, height, width). Depth is z in metres, disparity and flow are in pixels of the
given grid, every value with a bool `valid`. Poses are `a_from_b`. See docs/conventions.md.

Calling a method is the role's own: it takes arrays and tensors for what they are, refuses in one line what cannot be meant
(`border`), and then asks the method for `estimate`, `encode`, `discover` ... A method implements that and never the call.
A class that learns names its role first, `class Monodepth(DepthEstimator, Trainable)`, so that the call is the role's there too.

PyTorch or NumPy: what belongs to pixels or points, or to the motion between two images, is a tensor, since it may be learned,
carry gradients and lie on a GPU. What belongs to a whole recording is a float64 array on the CPU: pose graphs, closed loops,
landmarks, reconstructions, beliefs and plans. A stream's `Observation`, `Trajectory` and the poses that maps take are
tensors, for odometry that learns.
"""

from firstsight.roles.border import ImageLike, Images
from firstsight.roles.depth import (
    Depth,
    DepthCompleter,
    DepthEstimator,
    Disparity,
    MultiViewDepthEstimator,
    StereoEstimator,
)
from firstsight.roles.discovery import BoxDetector, Boxes, Boxes3d, Detections, Detector, Discoverer, Masks
from firstsight.roles.flow import Flow, FlowEstimator
from firstsight.roles.mapping import Mapper
from firstsight.roles.motion import MotionSegmenter, MovingObjects, Observation, Odometry, Trajectory
from firstsight.roles.navigation import Localiser, Planner, Policy, PoseBelief
from firstsight.roles.representation import DenseEncoder, DenseFeatures, Encoder, Generator
from firstsight.roles.slam import ClosedLoops, LandmarkSlam, LoopCloser, PoseGraphOptimiser, Reconstructor

__all__ = [
    "BoxDetector",
    "Boxes",
    "Boxes3d",
    "ClosedLoops",
    "DenseEncoder",
    "DenseFeatures",
    "Depth",
    "DepthCompleter",
    "DepthEstimator",
    "Detections",
    "Detector",
    "Discoverer",
    "Disparity",
    "Encoder",
    "Flow",
    "FlowEstimator",
    "Generator",
    "ImageLike",
    "Images",
    "LandmarkSlam",
    "Localiser",
    "LoopCloser",
    "Mapper",
    "Masks",
    "MotionSegmenter",
    "MovingObjects",
    "MultiViewDepthEstimator",
    "Observation",
    "Odometry",
    "Planner",
    "Policy",
    "PoseBelief",
    "PoseGraphOptimiser",
    "Reconstructor",
    "StereoEstimator",
    "Trajectory",
]
