"""The house as it is drawn is the house that the imports are held to."""

from xml.etree import ElementTree

from book.figures import IMAGES, drawings, house
from tests.book.test_figures_norms import Asked, texts
from tests.test_architecture import FLOORS, SOURCE


def test_every_folder_of_the_library_is_a_room_on_its_floor():
    drawn = [set(rooms) for rooms, _ in house.FLOORS]
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    heights = sorted({FLOORS[name] for name in folders - {"cli", "theory"}}, reverse=True)
    assert drawn == [{name for name in folders if FLOORS[name] == height} for height in heights]
    assert FLOORS["cli"] > heights[0] and FLOORS["theory"] < heights[-1]


def test_names_and_words_stand_in_the_picture():
    asked = Asked()
    seen = texts(house.draw(asked))
    assert asked.names == set(house.KOREAN)
    rooms = {room for names, _ in house.FLOORS for room in names}
    assert rooms | {"cli", "theory", "bindings", "kernels"} <= set(seen)


def test_a_mark_stands_in_each_room_where_a_kind_has_its_file():
    """Four rooms and two that may be empty, and one mark each below, where they are explained."""
    root = ElementTree.fromstring(house.draw({}))
    marks = [one.get("class") for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert sorted(marks) == ["kind"] * 5 + ["kind perhaps"] * 3


def test_file_is_what_is_drawn():
    for file, picture in drawings(["house"]):
        assert (IMAGES / file).read_text(encoding="utf-8") == picture, "run python -m book.figures"
