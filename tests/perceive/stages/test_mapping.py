"""Maps of recordings in which there is nothing to map."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from firstsight.errors import InputError
from firstsight.mapping.occupancy import OccupancyGrid
from firstsight.perceive.stages.mapping import OccupancyStage
from firstsight.run_folder import RunFolder


def test_a_grid_without_a_point_is_not_written(tmp_path: Path):
    """Its cells have no size: the file was refused when the report was drawn, and the run never came to its end."""
    stage = object.__new__(OccupancyStage)
    stage.mapper, stage.frames, stage.with_moving = OccupancyGrid(), [0], None
    stage.work = SimpleNamespace(run=RunFolder(tmp_path))
    with pytest.raises(InputError, match="no frame has a point that could be mapped"):
        stage.finish()
    assert not list(tmp_path.iterdir())
