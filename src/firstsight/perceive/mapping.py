"""Maps in the world frame: a coloured cloud, an occupancy grid and a graph of places, moving objects left out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from firstsight.formats import occupancy, point_cloud
from firstsight.formats.atomic import write_json
from firstsight.mapping.keyframes import KeyframeGraph
from firstsight.mapping.occupancy import OccupancyGrid
from firstsight.mapping.point_cloud import PointCloudMap
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.roles import Depth, Mapper, Observation
