"""Writing in one go."""

import pytest

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_json


def test_a_folder_in_the_place_of_a_file_is_one_line_and_stays(tmp_path):
    (tmp_path / "model.json" / "thesis").mkdir(parents=True)
    with pytest.raises(InputError, match=r"model\.json: is a folder, where a file is to be written"):
        write_json(tmp_path / "model.json", {})
    assert [path.name for path in tmp_path.rglob("*")] == ["model.json", "thesis"]
