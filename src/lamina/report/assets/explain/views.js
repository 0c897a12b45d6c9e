"use strict";
// The panel of the layer that is open: its maps, what a position sees, and its arithmetic.
let parts = null; // of the panel: what changes with channel and position

const build = (layer) => {
  const option = path.querySelector(`button[data-layer="${layer.id}"]`);
  mark(path, option);
  const [inner, outer] = [option.getBoundingClientRect(), path.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) {
    path.scrollTop += inner.top - outer.top - outer.height / 2;
  }
  const focused = panel.contains(document.activeElement) ? document.activeElement : null;
  parts = layer.maps ? views(layer) : null;
  const label = focused && focused.getAttribute("aria-label");
  panel.replaceChildren(heading(layer), ...(parts ? [parts.card, parts.numbers] : []));
  // What had the focus is gone: its successor has it, or the heading.
  const successor = focused && panel.querySelector(`.turn [aria-label="${label}"]:enabled`);
  if (focused) (successor || panel.querySelector("h3")).focus({ preventScroll: true });
  if (panel.getBoundingClientRect().top < 0) panel.scrollIntoView();
};

const views = (layer) => {
  const { maps } = layer;
  const choose = (shown) => show({ layer: layer.id, channel: maps.channels[shown] });
  const { list, nodes } = gallery(layer, choose);
  const note = make("p.note", { "aria-live": "polite" });
  const card = make("div.card", {}, nodes, note);
  const made = { card, list, note, numbers: make("div.card", { hidden: true }), map: null };
  if (isVector(maps)) return made; // no map to point at; as a rule it sees the whole image
  made.map = pointed(layer);
  made.image = make("canvas", { role: "img" });
  [made.mapTitle, made.imageTitle] = [make("b"), make("span.value")];
  const zooms = [["zoomOut", "−", 0.5], ["zoomIn", "+", 2]].map(([key, sign, factor]) => make("button.step",
    { type: "button", "aria-label": say(key), title: say(key), click: () => zoom(layer, factor) }, sign));
  const buttons = deepest(maps) > 1 ? make("span.zoom", {}, zooms) : null;
  card.append(make("div.views", {},
    make("figure", {}, make("figcaption", {}, made.mapTitle, buttons), made.map),
    make("figure", {}, make("figcaption", {}, make("b", {}, say("imageTitle")), made.imageTitle), made.image)));
  return made;
};

// The map of a channel, on which a position is chosen.
const pointed = (layer) => {
  const { maps } = layer;
  const map = make("canvas.pick", { tabindex: 0, role: "application", "aria-roledescription": say("maps") });
  map.addEventListener("click", (event) => {
    const box = map.getBoundingClientRect();
    const view = viewOf(maps, state.zoom, state.y, state.x);
    show({ layer: layer.id,
      y: Math.floor(view.top + ((event.clientY - box.top) / box.height) * view.rows),
      x: Math.floor(view.left + ((event.clientX - box.left) / box.width) * view.columns) });
  });
  map.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "+" || event.key === "-") zoom(layer, event.key === "+" ? 2 : 0.5);
    else if (event.key in moves) move(layer, ...moves[event.key]);
    else return;
    event.preventDefault();
  });
  return map;
};
// How far a map can be zoomed: about four of its cells stay in view.
const deepest = (maps) => Math.max(1, 2 ** Math.floor(Math.log2(Math.max(maps.rows, maps.columns) / 4)));
const zoom = (layer, factor) => {
  state.zoom = clamp(state.zoom * factor, 1, deepest(layer.maps));
  refresh(layer);
};
// To the neighbouring position that can be opened.
const move = (layer, down, right) => {
  const opened = openedOf(layer);
  if (!opened) return;
  const step = (places, here, by) => places[clamp(nearest(places, here) + by, 0, places.length - 1)];
  show({ layer: layer.id, y: step(opened.rows, state.y, down), x: step(opened.columns, state.x, right) });
};

const refresh = (layer) => {
  if (!parts) return;
  const opened = openedOf(layer);
  const canOpen = Boolean(opened) && state.shown < opened.channels;
  mark(parts.list, parts.list.children[state.shown]);
  if (parts.map) {
    refreshMap(layer, canOpen ? opened : null);
    refreshImage(layer, canOpen);
  }
  const isPart = opened && opened.rows.length * opened.columns.length < layer.maps.rows * layer.maps.columns;
  const hint = parts.map && canOpen ? say(isPart ? "dotted" : "everyPosition") : "";
  parts.note.textContent = state.note || hint;
  parts.note.classList.toggle("snapped", Boolean(state.note));
  refreshNumbers(layer, opened, canOpen);
};

const refreshMap = ({ maps }, opened) => {
  const { shown, y, x } = state;
  const channel = maps.channels[shown];
  if (parts.painted !== shown) [parts.source, parts.painted] = [paintMap(maps, shown), shown];
  drawMap(parts.map, parts.source, maps, viewOf(maps, state.zoom, y, x), opened, y, x);
  parts.mapTitle.textContent = say("channel", { channel });
  const byte = at(maps.pixels, shown, Math.floor(y / maps.step), Math.floor(x / maps.step));
  const value = digits(valueOfByte(maps, byte), 3);
  parts.map.setAttribute("aria-label", say("mapLabel", { channel, y, x, value }));
};

const refreshImage = ({ field }, canOpen) => {
  const seen = field && canOpen ? seenBy(field, state.y, state.x) : null;
  drawSeen(parts.image, picture, seen);
  const size = () => ({ rows: field.size[0], columns: field.size[1] });
  let title = field ? "" : say("seesUnknown");
  if (seen) title = seen.whole ? say("seesAll") : say(seen.padded ? "seesPadding" : "seesSize", size());
  parts.imageTitle.textContent = title;
  const edges = () => ({ top: Math.ceil(seen.top), bottom: Math.ceil(seen.bottom) - 1,
    left: Math.ceil(seen.left), right: Math.ceil(seen.right) - 1 });
  const label = [`${say("imageTitle")}:`, seen ? say("sees", edges()) : "", title].filter(Boolean).join(" ");
  parts.image.setAttribute("aria-label", label);
};

const refreshNumbers = (layer, opened, canOpen) => {
  const { arithmetic, maps } = layer;
  parts.numbers.hidden = !arithmetic;
  if (!arithmetic) return;
  const { shown, y, x } = state;
  const channel = maps.channels[shown];
  const nodes = [];
  if (canOpen) {
    const [r, k] = [opened.rows.indexOf(y), opened.columns.indexOf(x)];
    const result = arithmetic.is === "Dense" ? at(arithmetic.results, shown) : at(opened.results, shown, r, k);
    const where = isVector(maps) ? say("featureOf", { name: nameOf(layer, channel) })
      : say("position", { channel, y, x });
    nodes.push(make("h4", {}, say("arithmetic")),
      make("p.result", { "aria-live": "polite" }, number(result), " ", make("small", {}, where)),
      ARITHMETIC[arithmetic.is](layer, arithmetic, shown, r, k));
  } else if (opened && opened.channels) {
    const facts = { channel, channels: opened.channels };
    nodes.push(make("h4", {}, say("arithmetic")), text("channelOnly", facts));
  }
  if (EXTRAS[arithmetic.is]) nodes.push(EXTRAS[arithmetic.is](layer, arithmetic, shown));
  parts.numbers.replaceChildren(...nodes.flat(Infinity).filter(Boolean));
};
