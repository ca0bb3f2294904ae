"""The sheet holds a row for each thing shown, whatever its kind, size and sign."""

import numpy as np
import torch

from firstsight.formats.png import read_image
from firstsight.show.sheet import GAP_PX, TILE_PX, TITLE_PX, write_sheet


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
    assert first[0] > first[2], "small values are red"
    assert last[2] > last[0], "large ones blue"
    assert (
        len(np.unique(drawn[2 * row + TITLE_PX : 2 * row + TITLE_PX + TILE_PX, :TILE_PX].reshape(-1, 3), axis=0)) == 2
    )
