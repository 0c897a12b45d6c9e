"use strict";
// How one number comes about: computed here, from the record's float32 numbers, in float64.
const UNIT = 2 ** -24; // what float32 rounds off, at most, of a number of size 1

const erf = (x) => {
  const size = Math.abs(x);
  if (size < 2.5) { // the power series
    let [term, sum] = [x, x];
    for (let n = 1; n < 60; n += 1) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = size; // the continued fraction of 1 - erf
  for (let n = 60; n > 0; n -= 1) fraction = size + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * fraction));
};
const relu6 = (x) => Math.min(Math.max(x, 0), 6);
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const FUNCTIONS = {
  linear: (x) => x,
  relu: (x) => Math.max(x, 0),
  relu6,
  sigmoid,
  tanh: Math.tanh,
  silu: (x) => x * sigmoid(x),
  hardsigmoid: (x) => relu6(x + 3) / 6,
  hardswish: (x) => (x * relu6(x + 3)) / 6,
  gelu: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
};
// The function of that name; undefined where it has settings that the name does not say.
const functionOf = (name, formula = "") =>
  name === "gelu" && formula.includes("tanh") ? undefined : FUNCTIONS[name];

// Cells: teal for positive, orange for negative, the stronger the larger.
const shade = (value, largest) => {
  if (!value || !largest) return "transparent";
  const share = Math.round(8 + 46 * Math.min(1, Math.abs(value) / largest));
  return `color-mix(in srgb, var(${value > 0 ? "--accent" : "--warm"}) ${share}%, transparent)`;
};
const MOST_CELLS = 196; // a window with more is drawn, not written
const cells = (values, { outside = [], won = -1 } = {}) => {
  const flat = values.flat();
  const known = flat.filter(Number.isFinite);
  if (flat.length > MOST_CELLS) {
    const scale = scaleOf(least(known), greatest(known));
    const canvas = canvasOf(values[0].length, values.length,
      (i) => (Number.isFinite(flat[i]) ? [...scale.colour(flat[i]), 255] : [0, 0, 0, 0]));
    const label = `${values.length} × ${values[0].length}`;
    return fill(canvas, { style: { width: "14rem" }, role: "img", "aria-label": label }, []);
  }
  const top = greatest(known.map(Math.abs));
  const columns = values[0].length;
  const line = (row, y) => make("tr", {}, row.map((value, x) => {
    const place = y * columns + x;
    const classes = [outside[place] && "padding", place === won && "won"].filter(Boolean).join(" ");
    const style = { backgroundColor: shade(value, top) };
    return make("td", { class: classes || null, "data-value": String(value), style },
      Number.isFinite(value) ? digits(value, 3) : "–");
  }));
  const kind = columns > 5 ? "table.grid-numbers.small" : "table.grid-numbers";
  return make(kind, {}, make("tbody", {}, values.map(line)));
};
const titled = (title, content) => make("figure", {}, make("figcaption", {}, title), content);
const operator = (sign) => make("span.operator", { "aria-hidden": "true" }, sign);
const matrix = (rows, columns, value) =>
  Array.from({ length: rows }, (_, p) => Array.from({ length: columns }, (_, q) => value(p, q)));

// Lines of a sum: [name, value], the last one its total.
const sumTable = (lines) => {
  const line = ([name, value], index) => make(index === lines.length - 1 ? "tr.total" : "tr", {},
    make("td", {}, name), make("td", {}, number(value)));
  return make("table.sum", {}, make("tbody", {}, lines.map(line)));
};

// What follows every sum: the activation in the same layer, and the model's own number beside ours.
const compared = (mine, result, rounding) => {
  const key = Object.is(Math.fround(mine), result) || Math.fround(mine) === result ? "equal"
    : Math.abs(mine - result) <= rounding ? "agrees" : "differs";
  const values = { result: precise(result), difference: digits(Math.abs(mine - result), 2) };
  const data = { "data-agrees": key, "data-mine": String(mine), "data-result": String(result) };
  return make("p.agrees", data, say(key, values));
};
const unchecked = (result) => make("p.agrees", { "data-result": String(result) }, say("models"));
const finished = (lines, total, size, terms, result, then = "", name = say("sum")) => {
  const apply = then ? functionOf(then) : FUNCTIONS.linear;
  const all = [...lines, [name, total]];
  const applied = say("ofValue", { function: then, x: digits(total) });
  if (!apply) return [sumTable([...all, [applied, result]]), unchecked(result)];
  const mine = apply(total);
  if (then) all.push([applied, mine]);
  return [sumTable(all), compared(mine, result, 1.5 * (terms + 8) * UNIT * size)];
};

// The layer and channel that a number of the input is, as a link where it can be opened there.
const link = (place, said) => make("button.link", { type: "button", click: () => show(place) }, said);
const sourceOf = (layer, channel, y, x) => {
  const source = layers[layer.inputs[0]];
  const said = source ? say("inputOf", { channel, layer: source.name }) : say("input", { channel });
  if (!source || !source.maps || !source.maps.channels.includes(channel)) return make("span", {}, said);
  return make("span", {}, said, " · ", link({ layer: source.id, channel, y, x }, say("openInput")));
};

const FIRST = 3;
const MORE = 8;
const inParts = (terms, render) => {
  const list = make("div.terms");
  let shown = 0;
  const button = make("button.more", { type: "button", click: () => grow(MORE) }, say("more"));
  const grow = (count) => {
    list.append(...terms.slice(shown, shown + count).map(render));
    shown = Math.min(terms.length, shown + count);
    button.hidden = shown >= terms.length;
  };
  grow(FIRST);
  return [list, button];
};
// A line for each term: what it is, value, weight, product.
const fewer = (value) => number(value, (x) => digits(x, 5));
const termTable = (what, lines) => {
  const heads = [what, say("value"), say("weight"), say("product")];
  const head = (text, index) => make(index ? "th.number" : "th", { scope: "col" }, text);
  const cell = (value, index) => (index ? make("td.number", {}, fewer(value)) : make("td", {}, value));
  return make("div.table", {}, make("table", {}, make("thead", {}, make("tr", {}, heads.map(head))),
    make("tbody", {}, lines.map((line) => make("tr", {}, line.map(cell))))));
};
const byWeight = (terms) => terms.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
const added = (terms) => terms.reduce((total, term) => total + term.sum, 0);
const sumOf = (values) => values.reduce((total, value) => total + value, 0);
const sizeOf = (values) => values.reduce((total, value) => total + Math.abs(value), 0);
const text = (key, values) => make("p", {}, say(key, values));
