"""Every method, one line each. A line names the class, its role and whether it learns; the rest is read from the docstring."""

import ast
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from firstsight.errors import InputError
from firstsight.suggestions import unknown


class Line(NamedTuple):
    """`target` is MODULE:CLASS, `role` the role of `firstsight.roles` that the class names first."""

    target: str
    role: str
    learns: bool = False


METHODS = {
    "semi-global-matching": Line("firstsight.depth.semi_global_matching:SemiGlobalMatching", "StereoEstimator"),
    "mc-cnn": Line("firstsight.depth.mc_cnn:McCnn", "StereoEstimator", learns=True),
    "plane-sweep": Line("firstsight.depth.plane_sweep:PlaneSweep", "MultiViewDepthEstimator"),
    "cost-volume-net": Line("firstsight.depth.cost_volume_net:CostVolumeNet", "StereoEstimator", learns=True),
    "supervised-depth": Line("firstsight.depth.supervised_depth:SupervisedDepth", "DepthEstimator", learns=True),
    "monodepth": Line("firstsight.depth.monodepth:Monodepth", "DepthEstimator", learns=True),
    "monodepth2": Line("firstsight.depth.monodepth2:Monodepth2", "DepthEstimator", learns=True),
    "geonet": Line("firstsight.depth.geonet:GeoNet", "DepthEstimator", learns=True),
    "taught-depth": Line("firstsight.depth.taught_depth:TaughtDepth", "DepthEstimator", learns=True),
    "filled-sweep": Line("firstsight.depth.filled_sweep:FilledSweep", "MultiViewDepthEstimator", learns=True),
    "depth-completion": Line("firstsight.fusion.depth_completion:DepthCompletion", "DepthCompleter"),
    "dense-inverse-search": Line("firstsight.flow.dense_inverse_search:DenseInverseSearch", "FlowEstimator"),
    "lucas-kanade": Line("firstsight.flow.lucas_kanade:LucasKanade", "FlowEstimator"),
    "flownet-s": Line("firstsight.flow.learned.flownet_s:FlowNetS", "FlowEstimator", learns=True),
    "flownet-c": Line("firstsight.flow.learned.flownet_c:FlowNetC", "FlowEstimator", learns=True),
    "spynet": Line("firstsight.flow.learned.spynet:SpyNet", "FlowEstimator", learns=True),
    "pwc-net": Line("firstsight.flow.learned.pwc_net:PwcNet", "FlowEstimator", learns=True),
    "global-matching": Line("firstsight.flow.learned.global_matching:GlobalMatching", "FlowEstimator", learns=True),
    "uflow": Line("firstsight.flow.learned.uflow:UFlow", "FlowEstimator", learns=True),
    "refined-search": Line("firstsight.flow.learned.refined_search:RefinedSearch", "FlowEstimator", learns=True),
    "visual-odometry": Line("firstsight.motion.visual_odometry:VisualOdometry", "Odometry"),
    "monocular-odometry": Line("firstsight.motion.monocular_odometry:MonocularOdometry", "Odometry"),
    "lidar-odometry": Line("firstsight.motion.lidar_odometry:LidarOdometry", "Odometry"),
    "structure-from-motion": Line("firstsight.slam.photos.structure_from_motion:StructureFromMotion", "Reconstructor"),
    "loop-closing": Line("firstsight.slam.loops.loop_closing:LoopClosing", "LoopCloser"),
    "lidar-loop-closing": Line("firstsight.slam.loops.lidar_loop_closing:LidarLoopClosing", "LoopCloser"),
    "ekf-slam": Line("firstsight.slam.landmarks.ekf:EkfSlam", "LandmarkSlam"),
    "graph-slam": Line("firstsight.slam.landmarks.graph_slam:GraphSlam", "LandmarkSlam"),
    "pose-graph": Line("firstsight.slam.pose_graphs.pose_graph:PoseGraphOptimisation", "PoseGraphOptimiser"),
    "moving-object-segmentation": Line("firstsight.motion.moving_objects:MovingObjectSegmentation", "MotionSegmenter"),
    "point-cloud-map": Line("firstsight.mapping.point_cloud:PointCloudMap", "Mapper"),
    "tsdf": Line("firstsight.mapping.tsdf:Tsdf", "Mapper"),
    "occupancy-grid": Line("firstsight.mapping.occupancy:OccupancyGrid", "Mapper"),
    "keyframe-graph": Line("firstsight.mapping.keyframes:KeyframeGraph", "Mapper"),
    "classifier": Line("firstsight.representation.supervised.classifier:Classifier", "Encoder", learns=True),
    "rbm": Line("firstsight.representation.energy.rbm:Rbm", "Encoder", learns=True),
    "dino": Line("firstsight.representation.joint_embedding.dino:Dino", "Encoder", learns=True),
    "slot-attention": Line("firstsight.discovery.slot_attention:SlotAttention", "Discoverer", learns=True),
}


@dataclass(frozen=True)
class Entry:
    """A method of the catalogue. Nothing of it is imported before `load`.

    `role` is the name of its role in `firstsight.roles`; `learns` says whether it is trained before it is used.
    """

    name: str
    target: str
    role: str = ""
    learns: bool = False

    @property
    def family(self) -> str:
        """The folder of its module, such as "depth"."""
        return self.target.split(".")[1]

    @cached_property
    def description(self) -> str:
        """The docstring of the method's module, read without importing it."""
        spec = find_spec(self.target.split(":")[0])
        assert spec is not None, self.target
        assert spec.origin is not None, self.target
        return ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""

    def section(self, heading: str) -> str:
        """What the docstring says under `heading:` ("Paper", "Idea", "Role"), on one line; "" where it says nothing."""
        lines = self.description.splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith(f"{heading}:")]
        if not starts:
            return ""
        words = [lines[starts[0]].split(":", 1)[1]]
        for line in lines[starts[0] + 1 :]:
            if not line.startswith(" "):
                break
            words.append(line)
        return " ".join(" ".join(words).split())

    @property
    def module(self) -> ModuleType:
        """The method's module, imported."""
        return import_module(self.target.split(":")[0])

    def load(self) -> type:
        """The method's class."""
        return getattr(self.module, self.target.split(":")[1])


def entries() -> tuple[Entry, ...]:
    """All methods, in the order of the catalogue."""
    return tuple(Entry(name, *line) for name, line in METHODS.items())


def find(name: str) -> Entry:
    """The method of that name. Raises InputError, with the names that are close, where there is none."""
    if name in METHODS:
        return Entry(name, *METHODS[name])
    if "/" in name or "\\" in name:
        raise InputError(f"{name}: no such folder; give the folder of a training, or a name of `firstsight methods`")
    raise InputError(unknown(name, "method", METHODS, "firstsight methods"))
