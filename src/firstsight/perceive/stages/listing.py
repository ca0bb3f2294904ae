"""All stages in the order in which they are asked to run; of those with one name the first that can run does."""

from firstsight.perceive.stage import Stage
from firstsight.perceive.stages import depth, flow, lidar_camera_motion, lidar_loops, loops, mapping, motion, moving

STAGES: tuple[type[Stage], ...] = (
    depth.LearnedDepth,
    depth.SensorDepth,
    depth.StereoDepth,
    depth.LidarDepth,
    depth.MultiViewDepth,
    flow.FlowStage,
    motion.DepthCameraMotion,
    lidar_camera_motion.LidarCameraMotion,
    motion.LidarMotion,
    motion.CameraMotion,
    motion.RecordedMotion,
    loops.DepthCameraLoops,
    loops.CameraLoops,
    lidar_loops.LidarLoops,
    moving.MovingStage,
    mapping.CloudStage,
    mapping.OccupancyStage,
    mapping.PlacesStage,
    mapping.MeshStage,
)
