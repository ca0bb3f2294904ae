"""Every method, one line each. A line names the class; the rest of what is shown is read from its module's docstring."""

import ast
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from firstsight.errors import InputError
from firstsight.suggestions import unknown

METHODS = {
    "semi-global-matching": "firstsight.depth.semi_global_matching:SemiGlobalMatching",
    "plane-sweep": "firstsight.depth.plane_sweep:PlaneSweep",
    "monodepth": "firstsight.depth.monodepth:Monodepth",
    "monodepth2": "firstsight.depth.monodepth2:Monodepth2",
    "depth-completion": "firstsight.fusion.depth_completion:DepthCompletion",
    "dense-inverse-search": "firstsight.flow.dense_inverse_search:DenseInverseSearch",
    "lucas-kanade": "firstsight.flow.lucas_kanade:LucasKanade",
    "visual-odometry": "firstsight.motion.visual_odometry:VisualOdometry",
    "monocular-odometry": "firstsight.motion.monocular_odometry:MonocularOdometry",
    "lidar-odometry": "firstsight.motion.lidar_odometry:LidarOdometry",
    "structure-from-motion": "firstsight.slam.photos.structure_from_motion:StructureFromMotion",
    "loop-closing": "firstsight.slam.loops.loop_closing:LoopClosing",
    "lidar-loop-closing": "firstsight.slam.loops.lidar_loop_closing:LidarLoopClosing",
    "ekf-slam": "firstsight.slam.landmarks.ekf:EkfSlam",
    "graph-slam": "firstsight.slam.landmarks.graph_slam:GraphSlam",
    "pose-graph": "firstsight.slam.pose_graphs.pose_graph:PoseGraphOptimisation",
    "moving-object-segmentation": "firstsight.motion.moving_objects:MovingObjectSegmentation",
    "point-cloud-map": "firstsight.mapping.point_cloud:PointCloudMap",
    "tsdf": "firstsight.mapping.tsdf:Tsdf",
    "occupancy-grid": "firstsight.mapping.occupancy:OccupancyGrid",
    "keyframe-graph": "firstsight.mapping.keyframes:KeyframeGraph",
    "rbm": "firstsight.representation.energy.rbm:Rbm",
    "dino": "firstsight.representation.joint_embedding.dino:Dino",
    "slot-attention": "firstsight.discovery.slot_attention:SlotAttention",
}


@dataclass(frozen=True)
class Entry:
    """A method of the catalogue. Nothing of it is imported before `load`."""

    name: str
    target: str

    @property
    def family(self) -> str:
        return self.target.split(".")[1]

    @cached_property
    def description(self) -> str:
        """The docstring of the method's module, read without importing it."""
        spec = find_spec(self.target.split(":")[0])
        assert spec is not None, self.target
        assert spec.origin is not None, self.target
        return ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""

    def said(self, heading: str) -> str:
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
        return import_module(self.target.split(":")[0])

    def load(self) -> type:
        """The method's class."""
        return getattr(self.module, self.target.split(":")[1])


def entries() -> tuple[Entry, ...]:
    return tuple(Entry(name, target) for name, target in METHODS.items())


def find(name: str) -> Entry:
    """Raises InputError with the nearest name where there is no method of that name."""
    if name not in METHODS:
        raise InputError(unknown(name, "method", METHODS, "firstsight methods"))
    return Entry(name, METHODS[name])
