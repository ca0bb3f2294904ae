"""What the notes of photos say of their lenses, which share one, and rays with the lens undone."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from firstsight.roles.reconstruction import Lenses
from firstsight.slam.photos.lenses import DIAGONAL_35MM, PhotoLens, lens_groups, photo_lens, straight_rays

SIZE = (480, 640)


def test_notes_of_a_photo_give_its_focal_length(tmp_path):
    path = tmp_path / "photo.jpg"
    notes = Image.Exif()
    notes[ExifTags.Base.Make], notes[ExifTags.Base.Model] = "Maker", "One"
    notes.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.FocalLengthIn35mmFilm: 28, ExifTags.Base.FocalLength: 4.2})
    Image.new("RGB", (640, 480)).save(path, exif=notes)
    found = photo_lens(path, SIZE)
    assert found.focal_px == pytest.approx(28 * 800 / DIAGONAL_35MM)
    assert found.camera == "Maker One 4.2 mm"


def test_without_an_equivalent_the_sensor_gives_it(tmp_path):
    path = tmp_path / "photo.jpg"
    notes = Image.Exif()
    notes.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.FocalLength: 5.0,
            ExifTags.Base.FocalPlaneXResolution: 1000.0,
            ExifTags.Base.FocalPlaneResolutionUnit: 3,
        }
    )
    Image.new("RGB", (640, 480)).save(path, exif=notes)
    assert photo_lens(path, SIZE).focal_px == pytest.approx(500.0)  # 1000 pixels a centimetre


def test_a_photo_without_notes_says_nothing(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    assert photo_lens(tmp_path / "photo.png", (48, 64)) == PhotoLens((48, 64), None, "")


def test_notes_of_a_photo_that_claims_to_be_huge_say_nothing(tmp_path, monkeypatch):
    """Pillow refuses to open what may be a decompression bomb."""
    Image.new("RGB", (640, 480)).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert photo_lens(tmp_path / "photo.png", SIZE) == PhotoLens(SIZE, None, "")


def test_photos_of_one_size_and_camera_share_a_lens():
    groups = lens_groups(
        [
            PhotoLens(SIZE, None, ""),
            PhotoLens(SIZE, 700.0, "One"),
            PhotoLens(SIZE, None, ""),
            PhotoLens((640, 480), None, ""),
        ]
    )
    assert groups.lens.tolist() == [0, 1, 0, 2]
    assert groups.assumed.tolist() == [True, False, True]
    assert groups.lenses.intrinsics[:, 0, 0].tolist() == [1.2 * 640, 700.0, 1.2 * 640]
    assert groups.lenses.intrinsics[2, :2, 2].tolist() == [239.5, 319.5]


def test_straight_rays_undo_the_lens():
    rng = np.random.default_rng(0)
    rays = rng.uniform(-0.5, 0.5, (50, 2))
    intrinsics = np.array([[[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]])
    lenses = Lenses(np.array([[480, 640]]), intrinsics, np.array([[-0.12, 0.03]]))
    squared = (rays**2).sum(1)
    bend = 1 + squared * (-0.12 + 0.03 * squared)
    pixels = rays * bend[:, None] * [500, 510] + [320, 240]
    np.testing.assert_allclose(straight_rays(pixels, lenses, np.zeros(50, int)), rays, atol=1e-8)
