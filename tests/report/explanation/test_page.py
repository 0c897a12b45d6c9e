"""The page's arithmetic is the record's, and what it shows is escaped, reachable and narrow."""

import json
import re
from importlib import resources

import numpy as np
import pytest

from lamina.report.explanation.page import SCRIPTS, STYLE, to_page
from lamina.report.explanation.records import Convolution, Dense, Explanation, Pool
from lamina.report.explanation.words import STRINGS
from lamina.report.html import asset
from tests.report.explanation import hand
from tests.report.explanation.browser import dumped, in_chromium, reader, titled
from tests.report.explanation.hand import EVIL, unpacked


@pytest.fixture(scope="module")
def record() -> Explanation:
    return hand.record()


def places_of(record):
    """Every number that can be opened, with the model's own."""
    for layer in record.layers:
        arithmetic = layer.arithmetic
        if isinstance(arithmetic, Dense):
            for s, result in enumerate(unpacked(arithmetic.results)):
                yield layer, {"channel": layer.maps.channels[s], "y": 0, "x": 0}, result
        elif getattr(arithmetic, "opened", None) is not None:
            opened = arithmetic.opened
            for (s, r, k), result in np.ndenumerate(unpacked(opened.results)):
                place = {"channel": layer.maps.channels[s], "y": opened.rows[r],
                         "x": opened.columns[k]}  # fmt: skip
                yield layer, place, result


def opened_in_a_browser(page_of, record, folder, places, **how):
    wanted = [{"layer": layer.name, **place} for layer, place in places]
    found = titled(page_of(record, scripts=[reader(wanted)]), folder, **how)
    assert "error" not in found, found["error"]
    return found


@in_chromium
def test_every_number_is_made_again_from_the_numbers_that_are_shown(record, tmp_path):
    places = list(places_of(record))
    assert len({layer.kind for layer, _, _ in places}) == 12
    found = opened_in_a_browser(to_page, record, tmp_path, [place[:2] for place in places])
    for (layer, place, result), seen in zip(places, found["seen"], strict=True):
        where = f"{layer.name} {place}"
        assert seen["name"] == layer.name
        assert np.float32(seen["result"]) == result, where
        if layer.kind == "cat":
            assert "unchanged" in seen["text"], where
            continue
        assert seen["agrees"] in ("equal", "agrees"), where
        assert np.float32(seen["mine"]) == pytest.approx(result, rel=1e-6, abs=1e-6), where
        check_shown(layer, seen, where)


def check_shown(layer, seen, where):
    """The numbers on the page add up to the page's own result, in float64."""
    arithmetic, mine = layer.arithmetic, seen["mine"]
    exact = {"rel": 1e-12, "abs": 1e-12}
    if isinstance(arithmetic, Convolution):
        assert seen["rows"][-1] == mine, where
        bias = seen["rows"][-3] if arithmetic.then else seen["rows"][-2]
        total = bias if arithmetic.bias is not None else 0.0
        if arithmetic.kernel_size == (1, 1):
            assert len(seen["table"]) == arithmetic.input_size[0] // arithmetic.groups
            total += sum(x * w for x, w, _ in seen["table"])
        else:
            assert len(seen["terms"]) == arithmetic.input_size[0] // arithmetic.groups
            for term in seen["terms"]:
                window, kernel, products = term["grids"]
                assert products == [x * w for x, w in zip(window, kernel, strict=True)], where
                assert term["sum"] == pytest.approx(sum(products), **exact), where
                total += sum(products)
        assert mine == pytest.approx(max(total, 0) if arithmetic.then else total, **exact), where
    elif isinstance(arithmetic, Pool):
        (window,) = seen["terms"][0]["grids"]
        made = max(window) if arithmetic.mode == "max" else sum(window) / 9
        assert mine == pytest.approx(made, **exact), where
    elif isinstance(arithmetic, Dense):
        largest, rest, bias, total = seen["rows"]
        assert largest == pytest.approx(sum(x * w for x, w, _ in seen["table"]), **exact), where
        assert total == mine == pytest.approx(largest + rest + bias, **exact), where
    elif layer.kind == "batch_norm2d":
        x, mean, variance, epsilon, weight, bias, total = seen["rows"]
        made = (x - mean) / np.sqrt(variance + epsilon) * weight + bias
        assert total == mine == pytest.approx(made, **exact), where
    elif layer.kind == "add":
        *values, total = seen["rows"]
        assert total == mine == sum(values), where
    elif layer.kind == "squeeze_excite":
        x, gate, total = seen["rows"]
        assert total == mine == x * gate, where
    else:
        assert layer.kind == "activation"
        x, total = seen["rows"]
        assert total == mine == min(max(x, 0), 6), where


@in_chromium
def test_a_planted_fault_is_not_called_rounding(tmp_path):
    record = hand.record()
    layer = next(one for one in record.layers if one.kind == "conv2d")
    results = layer.arithmetic.opened.results
    wrong = unpacked(results).copy()
    wrong[0, 0, 0] += np.float32(1e-3)
    object.__setattr__(layer.arithmetic.opened, "results", hand.packed(wrong))
    place = {"channel": layer.maps.channels[0], "y": 0, "x": 0}
    (seen,) = opened_in_a_browser(to_page, record, tmp_path, [(layer, place)])["seen"]
    assert seen["agrees"] == "differs"


@in_chromium
def test_the_address_opens_a_view_and_says_where_it_had_to_move(record, tmp_path):
    address = "#layer=depthwise&channel=3&y=3&x=4"
    document = dumped(to_page(record), tmp_path, address=address)
    layer = next(one for one in record.layers if one.name == "depthwise")
    value = unpacked(layer.arithmetic.opened.results)[1, 1, 1]
    shown = re.search(r'class="result".*?data-value="([^"]*)"', document)[1]
    assert np.float32(float(shown)) == value
    assert (
        "Row 3, column 4 is not kept in this page; the nearest one that is: row 2, column 3."
        in (document)
    )
    assert 'aria-selected="true" tabindex="0" data-layer="2"' in document


@in_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_every_layer_opens_and_nothing_scrolls_sideways(record, tmp_path, width):
    places = [(layer, {}) for layer in record.layers]
    found = opened_in_a_browser(to_page, record, tmp_path, places, width=width)
    for layer, seen in zip(record.layers, found["seen"], strict=True):
        assert seen["name"] == layer.name
        assert seen["wide"] <= 0, layer.name
        assert seen["focusable"] >= 2, layer.name
        assert not layer.closed or f"Closed: {layer.closed}" in seen["text"]
        assert layer.theory in seen["text"]
    cam = unpacked(record.class_maps[0].values).astype(np.float64)
    assert float(found["score"]) == pytest.approx(cam.mean() + 0.25, rel=1e-12)


@in_chromium
def test_arrow_keys_move_layer_channel_and_pixel(record, tmp_path):
    script = """
    const press = (element, key) =>
      element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const left = [];
    const note = () => left.push(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
    show({ layer: 2, channel: 1, y: 2, x: 1 });
    note();
    press(document.querySelector(".pick"), "ArrowRight");
    note();
    press(document.querySelector(".pick"), "ArrowUp");
    note();
    press(document.querySelector(".maps [aria-selected=true]"), "ArrowRight");
    note();
    press(document.querySelector(".path [aria-selected=true]"), "ArrowDown");
    note();
    press(document.querySelector(".path [aria-selected=true]"), "Home");
    note();
    document.title = JSON.stringify(left);
    """
    left = titled(to_page(record, scripts=[script]), tmp_path)
    assert [(one["layer"], one["channel"], one["y"], one["x"]) for one in left[:4]] == [
        ("depthwise", "1", "2", "1"), ("depthwise", "1", "2", "3"),
        ("depthwise", "1", "0", "3"), ("depthwise", "3", "0", "3"),
    ]  # fmt: skip
    assert [one["layer"] for one in left[4:]] == ["pointwise", "input"]


@in_chromium
def test_a_path_of_clicks_leads_from_the_network_to_a_number(record, tmp_path):
    script = """
    const click = (element, { x = 0.5, y = 0.5 } = {}) => {
      const box = element.getBoundingClientRect();
      element.dispatchEvent(new MouseEvent("click", { bubbles: true,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
    };
    const seen = [];
    const note = () => {
      const result = panel.querySelector(".result .value");
      seen.push({ name: panel.querySelector("h3").textContent,
        place: Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
        result: result && Number(result.dataset.value) });
    };
    click(document.querySelector('.path [data-layer="2"]'));
    note();
    click(document.querySelectorAll(".maps [role=option]")[1]);
    note();
    click(document.querySelector(".pick"), { x: 0.01, y: 0.01 });
    note();
    click(panel.querySelector(".link"));
    note();
    document.title = JSON.stringify(seen);
    """
    layer, channel, pixel, source = titled(to_page(record, scripts=[script]), tmp_path)
    shown = next(one for one in record.layers if one.name == "depthwise")
    assert [one["name"] for one in (layer, channel, pixel)] == ["depthwise"] * 3
    assert channel["place"]["channel"] == str(shown.maps.channels[1])
    opened = shown.arithmetic.opened
    first = str(opened.rows[0]), str(opened.columns[0])  # that are kept
    assert (pixel["place"]["y"], pixel["place"]["x"]) == first
    assert np.float32(pixel["result"]) == unpacked(opened.results)[1, 0, 0]
    assert source["name"] == record.layers[shown.inputs[0]].name


def test_names_are_escaped_and_nothing_is_loaded(record):
    page = to_page(record)
    assert "<script>alert" not in page
    assert page.count("</script>") == len(SCRIPTS) + 1 + 2  # page.js, and two blocks of data
    data = re.search(r'<script type="application/json" id="record">(.*?)</script>', page, re.S)[1]
    assert json.loads(data)["layers"][12]["closed"] == f"no rule; {EVIL}"
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "style=" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "unsafe" not in policy and policy.startswith("default-src &#x27;none&#x27;")


def test_the_answer_stands_in_the_page_without_its_script(record):
    page = re.sub(r"<script.*?</script>", "", to_page(record), flags=re.S)
    best = record.answer.classes[0]
    assert f"{best.name}, {100 * best.probability:.1f} %" in page
    assert "It lies between 5.0 % and 95.0 %. The answer changes once out of 24." in page
    assert page.count('role="option"') == len(record.layers)
    assert "1,234 parameters, 56.8 k MACs" in page


def test_every_string_is_used_and_every_one_that_is_used_exists():
    program = "".join(map(asset, SCRIPTS))
    used = set(re.findall(r'\b(?:say|text)\("([\w.]+)"', program))
    used |= set(re.findall(r'(?:\? |: |\[|, )"(\w+)"', program)) & set(STRINGS)
    for start in re.findall(r"(?:say|text)\(`(\w+)\.", program):
        used |= {key for key in STRINGS if key.startswith(f"{start}.")}
    assert used == set(STRINGS)


def test_every_script_of_the_folder_is_in_the_page():
    folder = resources.files("lamina.report") / "assets" / "explain"
    assert {f"explain/{file.name}" for file in folder.iterdir()} == {*SCRIPTS, STYLE}
