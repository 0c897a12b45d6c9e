"use strict";
// What a layer's panel shows beside its maps and its arithmetic: histograms, masks, gates.
const openedOf = ({ arithmetic }) => {
  if (!arithmetic) return null;
  if (arithmetic.is !== "Dense") return arithmetic.opened || null;
  return { channels: arithmetic.results.shape[0], rows: [0], columns: [0] };
};
const isVector = (maps) => maps.rows * maps.columns === 1;

const [WIDE, HIGH] = [320, 96];
// Bars from a ground line at 0, one of them marked.
const barChart = (values, { label, chosen = -1, highest = 0 }) => {
  const [low, high] = [Math.min(0, least(values)), Math.max(highest, greatest(values))];
  const span = high - low || 1;
  const y = (value) => HIGH - ((value - low) / span) * HIGH;
  const step = WIDE / values.length;
  const bar = (value, i) => {
    const [top, bottom] = [Math.min(y(value), y(0)), Math.max(y(value), y(0))];
    const [left, right, from, to] = [i * step, step * 0.86, bottom, top].map((one) => one.toFixed(2));
    return `M${left} ${from}V${to}h${right}V${from}z`;
  };
  const parts = [draw("path", { d: Array.from(values, bar).join(""), class: "bar-fill" }),
    draw("line", { x1: 0, x2: WIDE, y1: y(0), y2: y(0), class: "axis" })];
  if (chosen >= 0) parts.push(draw("path", { d: bar(values[chosen], chosen), class: "bar-chosen" }));
  const frame = { viewBox: `0 -2 ${WIDE} ${HIGH + 4}`, preserveAspectRatio: "none" };
  return draw("svg", { ...frame, class: "bars", role: "img", "aria-label": label }, parts);
};
const histogram = (title, found) => {
  const count = found.counts.reduce((sum, one) => sum + one, 0);
  const label = say("histogram", { count: whole(count), low: digits(found.low), high: digits(found.high) });
  return make("figure", {}, make("figcaption", {}, make("b", {}, title)), barChart(found.counts, { label }),
    make("p.ends", {}, make("span", {}, digits(found.low)), make("span", {}, digits(found.high))));
};

const EXTRAS = {
  BatchNorm: (layer, a, s) => {
    const channel = layer.maps.channels[s];
    if (!a.before[s]) return null;
    return make("div.pair", {}, histogram(say("beforeChannel", { channel }), a.before[s]),
      histogram(say("afterChannel", { channel }), a.after[s]));
  },
  Activation: (layer, a) => {
    const said = [a.cut === null ? say("notCut") : say("cut", { share: percent(a.cut) })];
    if (a.capped !== null) said.push(say("capped", { share: percent(a.capped) }));
    const shares = make("p", { "data-cut": a.cut }, said.join(" "));
    return [shares, make("div.pair", {}, histogram(say("before"), a.before), histogram(say("after"), a.after))];
  },
  Dropout: (layer, a, s) => {
    const facts = { rate: digits(a.rate), scale: digits(a.scale), unit: say(`unit.${a.unit}`) };
    const text = make("p", {}, say("dropoutText", facts));
    const kept = make("p.note", {}, say("maskKept", { kept: percent(a.kept) }));
    const [shown, rows, columns] = a.mask.shape;
    const mask = numbers(a.mask);
    const isOne = rows * columns === 1; // a vector: its shown features in a row
    const [height, width, from] = isOne ? [1, shown, 0] : [rows, columns, s * rows * columns];
    const canvas = canvasOf(width, height, (i) => (mask[from + i] ? [46, 160, 150, 255] : [20, 22, 26, 255]));
    fill(canvas, { class: isOne ? "strip" : "mask", role: "img", "aria-label": say("mask") }, []);
    return [make("h4", {}, say("mask")), text, canvas, kept];
  },
  SqueezeExcite: (layer, a, s) => {
    const gates = numbers(a.gates);
    const facts = { total: gates.length, low: digits(least(gates)), high: digits(greatest(gates)) };
    const label = say("gatesText", facts);
    return [make("h4", {}, say("gates")), make("p", {}, label),
      barChart(gates, { label, chosen: layer.maps.channels[s], highest: 1 })];
  },
};

// Name, purpose, theory and cost of a layer, with the way to its neighbours.
const heading = (layer) => {
  const turn = (step, key, sign) => make("button.step",
    { type: "button", "aria-label": say(key), title: say(key), disabled: layers[layer.id + step] ? null : "",
      click: () => show({ layer: layer.id + step }) }, sign);
  const inputs = layer.input_shapes.map(shapeOf).join(" + ");
  const shapes = [inputs, shapeOf(layer.output_shape)].filter(Boolean).join(" → ");
  const cost = layer.cost || {};
  const facts = [["parameters", cost.parameters, whole], ["macs", cost.macs, short], ["flops", cost.flops, short],
    ["moved", cost.bytes_moved, short]].filter(([, value]) => value);
  const fact = ([key, value, form]) => make("span", {}, make("b", {}, form(value)), ` ${say(key)}`);
  return make("div.card", {},
    make("div.turn", {}, turn(-1, "previous", "↑"), turn(1, "next", "↓")),
    make("p.kind", {}, [layer.type, layer.settings].filter(Boolean).join(" · ")),
    make("h3", { tabindex: -1 }, layer.name),
    make("p.cost", {}, shapes),
    record.about[layer.kind] ? make("p", {}, record.about[layer.kind]) : null,
    layer.role ? make("p", {}, sentence(layer.role)) : null,
    layer.theory ? make("p.theory", {}, make("code", {}, layer.theory)) : null,
    facts.length ? make("p.cost", {}, facts.map(fact)) : null,
    layer.closed ? make("p.warning", {}, say("closed", { reason: layer.closed })) : null,
    !layer.closed && !layer.arithmetic && layer.cost ? make("p", {}, say("moves")) : null);
};
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replace(/\.?$/, ".")}`;
const shapeOf = (shape) => shape.slice(1).join("×");

// The shown channels of a layer, a small map each; of a vector a bar each.
const gallery = (layer, choose) => {
  const { maps } = layer;
  const isOne = isVector(maps);
  const facts = { shown: maps.channels.length, total: whole(maps.total) };
  const list = make(isOne ? "div.maps.vector" : "div.maps", { role: "listbox", "aria-label": say("maps") },
    maps.channels.map((channel, s) => (isOne ? meter : thumbnail)(layer, channel, s)));
  listbox(list, (chosen) => choose(Number(chosen.dataset.shown)));
  const title = make("h4", {}, say(isOne ? "vector" : "maps"));
  if (!isOne) {
    const key = maps.channels.length < maps.total ? "mapsShown" : "mapsAll";
    return { list, nodes: [title, make("p.note", {}, say(key, facts)), list, paintScale(maps)] };
  }
  const nodes = [title, make("p.note", {}, say("vectorShown", facts)), list];
  if (maps.all_values && maps.total > maps.channels.length) {
    const label = say("allFeatures", facts);
    nodes.push(titled(label, barChart(numbers(maps.all_values), { label })));
  }
  return { list, nodes };
};
const thumbnail = ({ maps }, channel, s) => make("button",
  { type: "button", role: "option", "data-shown": s, "aria-label": say("channel", { channel }) },
  paintMap(maps, s), make("small", {}, String(channel)));
const meter = (layer, channel, s) => {
  const { maps } = layer;
  const value = maps.all_values ? at(maps.all_values, channel) : valueOfByte(maps, at(maps.pixels, s, 0, 0));
  const highest = Math.max(Math.abs(Number(maps.low)), Math.abs(Number(maps.high))) || 1;
  const bar = draw("rect", { width: (100 * Math.abs(value)) / highest, height: 10,
    class: value < 0 ? "negative" : "positive" });
  return make("button", { type: "button", role: "option", "data-shown": s },
    draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "meter", "aria-hidden": true }, bar),
    make("small", {}, `${nameOf(layer, channel)}: ${digits(value, 3)}`));
};
// A feature of the last layers is a class, by its name where that is known.
const nameOf = ({ id, maps }, channel) => (id >= layers.length - 2 && maps.total === record.classes.total
  && record.classes.names[channel]) || String(channel);
