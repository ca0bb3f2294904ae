"""The sheet holds a row for each thing shown, whatever its kind, size and sign."""

import numpy as np
import torch

from firstsight.formats.png import read_image
from firstsight.show.sheet import GAP_PX, TILE_PX, TITLE_PX, limits, write_sheet


def test_images_maps_and_labels_each_get_a_row(tmp_path):
    maps = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8).repeat(2, 1, 1, 1)
    maps[0, 0, 0, 0] = torch.nan
    sheet = {"image": torch.ones(3, 3, 8, 8), "map": maps, "labels": torch.arange(64).reshape(1, 8, 8) // 32}
    write_sheet(tmp_path / "sheet.png", sheet)
    drawn = read_image(tmp_path / "sheet.png")
    row = TITLE_PX + TILE_PX + GAP_PX
    assert drawn.shape == (3 * row, 3 * (TILE_PX + GAP_PX), 3)
    assert (drawn[TITLE_PX : TITLE_PX + TILE_PX, :TILE_PX] == 255).all()
    first, last = drawn[row + TITLE_PX + 30, 2], drawn[row + TITLE_PX + TILE_PX - 2, TILE_PX - 2]
    assert first[2] > first[0], "small values are blue"
    assert last[0] > last[2], "large ones red, as what is near is in the report"
    bar = drawn[row + TITLE_PX :, 2 * (TILE_PX + GAP_PX) + 4]
    assert bar[2].tolist() == [190, 33, 2], "the bar behind the maps begins with the colour of the largest"
    assert bar[TILE_PX - 2, 2] > bar[TILE_PX - 2, 0]
    assert (
        len(np.unique(drawn[2 * row + TITLE_PX : 2 * row + TITLE_PX + TILE_PX, :TILE_PX].reshape(-1, 3), axis=0)) == 2
    )


def test_limits_leave_out_a_hundredth_at_each_end():
    values = torch.arange(201.0).reshape(1, 1, 3, 67)
    values[0, 0, 0, 0] = torch.nan
    assert limits(values) == (1 + 0.01 * 199, 1 + 0.99 * 199)
