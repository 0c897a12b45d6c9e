"""Image files from anywhere: read under our limits, or refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lamina.errors import InputError
from lamina.train import images
from lamina.train.images import class_folders, image_size, read_image


def claim(path, width, height):
    """Write a small PNG whose header states a size of its own."""

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 9_000), (7_100, 7_100)])
def test_a_decompression_bomb_is_refused_by_what_it_states(tmp_path, size, recwarn):
    claim(tmp_path / "bomb.png", *size)
    with pytest.raises(InputError, match=r"bomb\.png: expected at most 50,000,000 pixels"):
        read_image(tmp_path / "bomb.png", (8, 8), 1)
    assert not recwarn.list


def test_the_cap_is_on_pixels_and_not_below(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 12)
    Image.new("L", (4, 3)).save(tmp_path / "fits.png")
    Image.new("L", (13, 1)).save(tmp_path / "over.png")
    assert read_image(tmp_path / "fits.png", (3, 4), 1).shape == (3, 4, 1)
    with pytest.raises(InputError, match="at most 12 pixels, got 13"):
        read_image(tmp_path / "over.png", (1, 1), 1)


def test_what_is_no_png_or_jpeg_is_refused_whatever_its_name(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "picture.gif")
    (tmp_path / "picture.gif").rename(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("<svg/>")
    (tmp_path / "empty.png").touch()
    for name in ("picture", "text", "empty"):
        with pytest.raises(InputError, match=rf"{name}\.png: not a readable PNG or JPEG"):
            read_image(tmp_path / f"{name}.png", (4, 4), 1)
    with pytest.raises(InputError, match=r"absent\.png: no such image file"):
        read_image(tmp_path / "absent.png", (4, 4), 1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert image_size(path) == (64, 64)
    with pytest.raises(InputError, match="not a readable PNG or JPEG"):
        read_image(path, (64, 64), 3)


def test_an_image_is_scaled_to_cover_and_cropped_around_its_centre(tmp_path):
    pixels = np.zeros((10, 30), dtype=np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (read_image(tmp_path / "wide.png", (10, 10), 1) == 255).all()
    assert read_image(tmp_path / "wide.png", (5, 7), 3).shape == (5, 7, 3)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    levels = np.array([[0, 256 * 40, 256 * 200]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", (1, 3), 1).ravel().tolist() == [0, 40, 200]


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    picture = Image.new("L", (4, 8))
    picture.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png", (8, 4), 1)[7, 3, 0] == 255


def test_a_link_inside_the_folder_is_followed_and_one_that_leaves_it_is_not(tmp_path):
    root = tmp_path / "root"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    Image.new("L", (2, 2)).save(root / "a" / "one.png")
    (root / "b" / "same.png").symlink_to(root / "a" / "one.png")
    assert [(name, len(files)) for name, files in class_folders(root)] == [("a", 1), ("b", 1)]
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")
    (root / "b" / "out.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"out\.png: a link that leaves"):
        list(class_folders(root))


def test_a_linked_class_folder_that_leaves_the_root_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "elsewhere" / "one.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link that leaves"):
        list(class_folders(tmp_path / "root"))


def test_hidden_and_other_files_are_no_images(image_folder):
    before = [(name, len(files)) for name, files in class_folders(image_folder)]
    (image_folder / "bright" / ".DS_Store.png").touch()
    (image_folder / "bright" / "notes.txt").touch()
    (image_folder / ".cache").mkdir()
    (image_folder / "readme.png").touch()
    assert [(name, len(files)) for name, files in class_folders(image_folder)] == before
