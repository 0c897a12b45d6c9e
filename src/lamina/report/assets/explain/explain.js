"use strict";
// The reader's place: a layer, a channel and a position, kept in the address so that it can be sent.
const state = { layer: -1, shown: 0, y: 0, x: 0, zoom: 1, note: "", point: null };
const path = document.querySelector(".path");
const panel = document.getElementById("panel");

// The centre of what is seen now, in pixels of the image: the next layer is opened at the same place.
const centre = (layer, places = [state.y, state.x]) => {
  if (!layer.field || !Number(layer.field.step[0]) || !Number(layer.field.step[1])) return state.point;
  const { start, step, size } = layer.field;
  return places.map((place, axis) => Number(start[axis]) + place * Number(step[axis]) + (size[axis] - 1) / 2);
};
const placeOf = (layer, point) => {
  const { maps, field } = layer;
  return [maps.rows, maps.columns].map((count, axis) => {
    if (!point || !field || !Number(field.step[axis])) return count >> 1;
    const first = Number(field.start[axis]) + (field.size[axis] - 1) / 2;
    return clamp(Math.round((point[axis] - first) / Number(field.step[axis])), 0, count - 1);
  });
};
// Where the reader begins: at what speaks most for the answer.
const telling = () => {
  const [map] = record.class_maps;
  if (!map) return null;
  const values = numbers(map.values);
  const place = values.indexOf(greatest(values));
  const [y, x] = [Math.floor(place / map.values.shape[1]), place % map.values.shape[1]];
  return centre(layers[map.layer], [y, x]);
};
// Without such a place: where the channel answers most, of what can be opened.
const strongest = (layer, shown) => {
  const { maps } = layer;
  const opened = openedOf(layer);
  let best = { y: 0, x: 0, byte: -1 };
  for (const y of opened ? opened.rows : [0]) {
    for (const x of opened ? opened.columns : [0]) {
      const byte = at(maps.pixels, shown, Math.floor(y / maps.step), Math.floor(x / maps.step));
      if (byte > best.byte) best = { y, x, byte };
    }
  }
  return [best.y, best.x];
};

const show = ({ layer: id, channel, y, x }) => {
  const layer = layers[id];
  const isNew = id !== state.layer;
  state.layer = id;
  state.note = "";
  const { maps } = layer;
  if (maps) {
    const opened = openedOf(layer);
    if (isNew) [state.shown, state.zoom] = [0, 1];
    if (channel !== undefined) {
      state.shown = maps.channels.indexOf(channel);
      if (state.shown < 0) {
        state.shown = 0;
        state.note = say("snappedChannel", { channel, to: maps.channels[0] });
      }
    }
    const asked = y !== undefined && x !== undefined;
    if (asked) [state.y, state.x] = [clamp(y, 0, maps.rows - 1), clamp(x, 0, maps.columns - 1)];
    else if (isNew && state.point) [state.y, state.x] = placeOf(layer, state.point);
    else if (isNew) [state.y, state.x] = strongest(layer, state.shown);
    if (opened && opened.rows.length && opened.columns.length) {
      const toY = opened.rows[nearest(opened.rows, state.y)];
      const toX = opened.columns[nearest(opened.columns, state.x)];
      if (asked && (toY !== y || toX !== x)) state.note = say("snapped", { y, x, toY, toX });
      [state.y, state.x] = [toY, toX];
    }
    if (asked || !state.point) state.point = centre(layer);
  }
  if (isNew) build(layer);
  refresh(layer);
  remember(layer);
};
const remember = ({ name, maps }) => {
  const place = maps ? { channel: maps.channels[state.shown], y: state.y, x: state.x } : {};
  try {
    history.replaceState(null, "", `#${new URLSearchParams({ layer: name, ...place })}`);
  } catch { /* a page inside another one's frame has no address of its own */ }
};

listbox(path, (option) => show({ layer: Number(option.dataset.layer) }));
path.querySelector(".rails").addEventListener("click", ({ target }) => {
  if (target.dataset.layer) show({ layer: Number(target.dataset.layer) });
});
dark.addEventListener("change", () => {
  const { layer: id, shown, y, x } = state;
  const { maps } = layers[id];
  state.layer = -1; // so that all is painted anew
  show(maps ? { layer: id, channel: maps.channels[shown], y, x } : { layer: id });
});
const fromAddress = () => {
  const asked = new URLSearchParams(location.hash.slice(1));
  const found = layers.find((layer) => layer.name === asked.get("layer"));
  const place = (key) => (/^\d+$/.test(asked.get(key) || "") ? Number(asked.get(key)) : undefined);
  const first = layers.find((layer) => openedOf(layer)) || layers[0];
  if (found) show({ layer: found.id, channel: place("channel"), y: place("y"), x: place("x") });
  else show({ layer: first.id });
};
addEventListener("hashchange", fromAddress);
state.point = telling();
fromAddress();
