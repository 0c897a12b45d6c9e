"""Image files from anywhere: read under our limits, or refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lamina.errors import InputError
from lamina.train import images
from lamina.train.images import FORMATS, Look, look, read_image
from lamina.train.listing import class_files


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


def test_what_is_of_another_format_is_refused_whatever_its_name(tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "picture.ico")
    (tmp_path / "picture.ico").rename(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("<svg/>")
    (tmp_path / "empty.png").touch()
    for name in ("picture", "text", "empty"):
        with pytest.raises(InputError, match=rf"{name}\.png: not a readable PNG, JPEG, WEBP"):
            read_image(tmp_path / f"{name}.png", (4, 4), 1)
    with pytest.raises(InputError, match=r"absent\.png: no such image file"):
        read_image(tmp_path / "absent.png", (4, 4), 1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert look(path) == Look(64, 64)
    with pytest.raises(InputError, match="not a readable PNG, JPEG, WEBP"):
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
    found = class_files(root, pytest.fail)
    assert {name: len(files) for name, files in found.items()} == {"a": 1, "b": 1}
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")
    (root / "b" / "out.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"out\.png: a link that leaves"):
        class_files(root, pytest.fail)


def test_a_linked_class_folder_that_leaves_the_root_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "elsewhere" / "one.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link that leaves"):
        class_files(tmp_path / "root", pytest.fail)


def test_what_is_left_aside_is_said_in_one_line(image_folder):
    before = class_files(image_folder, pytest.fail)
    (image_folder / "bright" / ".DS_Store.png").touch()
    (image_folder / ".cache").mkdir()
    assert class_files(image_folder, pytest.fail) == before, "hidden names are no news"
    for name in ("bright/notes.txt", "bright/more.txt", "dark/raw.cr2", "dark/README", "a.png"):
        (image_folder / name).touch()
    (image_folder / "nothing").mkdir()
    lines = []
    assert class_files(image_folder, lines.append) == before
    (line,) = lines
    assert "4 files that are no images (1 of .cr2, 2 of .txt, 1 of no suffix)" in line
    assert "1 files beside the sub-folders; the sub-folders without an image 'nothing'" in line


def test_folders_in_a_class_belong_to_it(image_folder):
    before = class_files(image_folder, pytest.fail)
    inner = image_folder / "dark" / "monday" / "morning"
    inner.mkdir(parents=True)
    (image_folder / "dark" / "01.png").rename(inner / "01.png")
    found = class_files(image_folder, pytest.fail)
    assert [len(files) for files in found.values()] == [len(files) for files in before.values()]
    assert inner / "01.png" in found["dark"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_format_is_read(tmp_path, kind, mode):
    colour = 200 if mode == "L" else (200, 100, 50)
    for suffix in FORMATS[kind]:
        path = tmp_path / f"image{suffix.upper()}"
        Image.new(mode, (8, 6), colour).save(path, format=kind)
        assert look(path) == Look(6, 8)
        pixels = read_image(path, (6, 8), 3)
        assert abs(pixels.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_images_in_a_file_the_first_is_taken(tmp_path, kind):
    first, second = (Image.new("RGB", (4, 4), (level,) * 3) for level in (40, 200))
    path = tmp_path / f"film{FORMATS[kind][0]}"
    first.save(path, format=kind, save_all=True, append_images=[second])
    assert abs(read_image(path, (4, 4), 1).astype(int) - 40).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_laid_on_white(tmp_path, mode, channels):
    """Under a transparent pixel any colour may be hidden: here black."""
    path = tmp_path / "image.png"
    if mode == "P":
        image = Image.new("P", (3, 1))
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.putpixel((2, 0), 1)
        image.save(path, transparency=0)
        expected = [255, 255, 0]
    else:
        image = Image.new("RGBA", (3, 1))
        for x, alpha in enumerate((0, 128, 255)):
            image.putpixel((x, 0), (0, 0, 0, alpha))
        image.convert(mode).save(path)
        expected = [255, 127, 0]
    assert read_image(path, (1, 3), channels)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_levels_are_scaled_by_the_bits_that_they_have(tmp_path, bits, suffix):
    levels = np.linspace(0, 2**bits - 1, 256).astype(np.uint16)[None]
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(levels).save(path)
    assert look(path) == Look(1, 256, bits)
    pixels = read_image(path, (1, 256), 1, bits)
    assert abs(pixels.ravel().astype(int) - np.arange(256)).max() <= 1


def test_levels_without_a_scale_are_refused(tmp_path):
    for name, levels in (
        ("float", np.array([[0.0, 0.5]], dtype=np.float32)),
        ("wide", np.array([[0, 1 << 20]], dtype=np.int32)),
        ("negative", np.array([[-1, 5]], dtype=np.int32)),
    ):
        path = tmp_path / f"{name}.tif"
        Image.fromarray(levels).save(path)
        for read in (look, lambda path: read_image(path, (1, 2), 1)):
            with pytest.raises(InputError, match="expected levels of 8 or 16 bits"):
                read(path)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photograph_is_decoded_small_and_looks_the_same(tmp_path, orientation, monkeypatch):
    y, x = np.mgrid[0:900, 0:1200]
    waves = 127 + 100 * np.sin(x / 90) * np.cos(y / 70)
    picture = Image.fromarray(np.stack([waves, 255 - waves, waves / 2], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "large.jpg", quality=95, exif=exif)
    picture.save(tmp_path / "large.png", exif=exif)
    decoded = []
    real = images.ImageOps.fit

    def fit(image, *arguments):
        decoded.append(max(image.size))
        return real(image, *arguments)

    monkeypatch.setattr(images.ImageOps, "fit", fit)
    small = read_image(tmp_path / "large.jpg", (64, 64), 3).astype(int)
    exact = read_image(tmp_path / "large.png", (64, 64), 3).astype(int)
    assert decoded == [300, 1200], "a quarter: an eighth would be smaller than twice the side"
    assert abs(small - exact).mean() < 2
