"use strict";
// The arithmetic of each kind of layer: of its shown channel s at the opened row r and column k.
const convolution = (layer, a, s, r, k) => {
  const { opened } = a;
  const [, channels, taps, across] = a.kernels.shape;
  const [, rows, columns] = a.input_size;
  const top = opened.rows[r] * a.stride[0] - a.padding[0][0];
  const left = opened.columns[k] * a.stride[1] - a.padding[1][0];
  const row = (p) => top + p * a.dilation[0];
  const column = (q) => left + q * a.dilation[1];
  const isOutside = (p, q) => row(p) < 0 || column(q) < 0 || row(p) >= rows || column(q) >= columns;
  const input = (c, p, q) => {
    if (isOutside(p, q)) return 0;
    return opened.whole === null ? at(opened.windows, a.group_of[s], r, k, c, p, q)
      : at(record.tensors[opened.whole], a.first_input[s] + c, row(p), column(q));
  };
  const terms = byWeight(Array.from({ length: channels }, (_, c) => {
    const window = matrix(taps, across, (p, q) => input(c, p, q));
    const kernel = matrix(taps, across, (p, q) => at(a.kernels, s, c, p, q));
    const products = matrix(taps, across, (p, q) => window[p][q] * kernel[p][q]);
    const flat = products.flat();
    return { channel: a.first_input[s] + c, window, kernel, products, sum: sumOf(flat), size: sizeOf(flat) };
  }));
  const bias = a.bias ? at(a.bias, s) : 0;
  const size = sumOf(terms.map((term) => term.size)) + Math.abs(bias);
  const count = channels * taps * across;
  const isPointwise = taps * across === 1;
  const written = Math.min(terms.length, isPointwise ? MORE : FIRST);
  const [largest, rest] = [terms.slice(0, written), terms.slice(written)];
  const lines = isPointwise ? [[say("largest", { count: written }), added(largest)]]
    : largest.map((term) => [say("input", { channel: term.channel }), term.sum]);
  if (rest.length) lines.push([say("others", { count: rest.length }), added(rest)]);
  if (a.bias) lines.push([say("bias"), bias]);
  const sums = finished(lines, added(terms) + bias, size, count, at(opened.results, s, r, k), a.then);
  if (isPointwise) {
    const list = largest.map((term) => [sourceOf(layer, term.channel, row(0), column(0)),
      term.window[0][0], term.kernel[0][0], term.sum]);
    return [text(rest.length ? "termsText" : "allTermsText", { count: whole(count), shown: written }),
      termTable(say("channelHead"), list), sums];
  }
  const outside = matrix(taps, across, isOutside).flat();
  const middle = [clamp(row(taps >> 1), 0, rows - 1), clamp(column(across >> 1), 0, columns - 1)];
  const part = (term) => make("div.term", {},
    make("p", {}, sourceOf(layer, term.channel, ...middle), make("b", {}, fewer(term.sum))),
    make("div.product", {}, titled(say("window"), cells(term.window, { outside })), operator("×"),
      titled(say("kernel"), cells(term.kernel)), operator("="),
      titled(say("products"), cells(term.products, { outside }))));
  const facts = { count: whole(count), rows: taps, columns: across, channels };
  return [text(channels === 1 ? "depthwiseText" : "convolutionText", facts),
    outside.some(Boolean) ? text("paddingText") : [], inParts(terms, part), sums];
};

const pool = (layer, a, s, r, k) => {
  const { opened } = a;
  const channel = layer.maps.channels[s];
  // Positions inside of the input along one axis, each with its tap.
  const along = (axis, place, first, end) => {
    const start = a.stride[axis] ? place * a.stride[axis] - a.padding[axis][0] : first;
    const step = a.stride[axis] ? a.dilation[axis] : 1;
    return Array.from({ length: a.kernel_size[axis] }, (_, tap) => [start + tap * step, tap])
      .filter(([position]) => position >= first && position < end);
  };
  const rows = along(0, opened.rows[r], a.first_row[r], a.end_row[r]);
  const columns = along(1, opened.columns[k], a.first_column[k], a.end_column[k]);
  const window = rows.map(([row, p]) => columns.map(([column, q]) => (opened.whole === null
    ? at(opened.windows, s, r, k, p, q) : at(record.tensors[opened.whole], channel, row, column))));
  const flat = window.flat();
  const result = at(opened.results, s, r, k);
  const drawn = (won, y, x) => make("div.term", {}, make("p", {}, sourceOf(layer, channel, y, x)),
    make("div.product", {}, titled(say("window"), cells(window, { won }))));
  if (a.mode === "max") {
    const largest = greatest(flat);
    const won = Math.max(0, flat.indexOf(largest)); // of equal ones the first
    const [y, x] = [rows[Math.floor(won / columns.length)][0], columns[won % columns.length][0]];
    return [text("maxText", { count: flat.length, y, x }), drawn(won, y, x), compared(largest, result, 0)];
  }
  const [sum, divisor] = [sumOf(flat), at(a.divisors, r, k)];
  const facts = { count: whole(flat.length), sum: digits(sum, 6), divisor: whole(divisor) };
  const middle = [rows, columns].map((places) => places[places.length >> 1][0]);
  return [text(divisor === flat.length ? "averageText" : "averagePadded", facts), drawn(-1, ...middle),
    sumTable([[say("sum"), sum], [`${facts.sum} / ${facts.divisor}`, sum / divisor]]),
    compared(sum / divisor, result, ((flat.length + 8) * UNIT * sizeOf(flat)) / divisor)];
};

const dense = (layer, a, s) => {
  const shown = a.indices.shape[1];
  const source = layers[layer.inputs[0]];
  const isVectorOf = source && source.maps && source.maps.total === a.in_features;
  const terms = Array.from({ length: shown }, (_, t) => {
    const [feature, x, w] = [a.indices, a.inputs, a.weights].map((array) => at(array, s, t));
    return [isVectorOf ? sourceOf(layer, feature, 0, 0) : whole(feature), x, w, x * w];
  });
  const products = terms.map(([, , , product]) => product);
  const [bias, rest] = [a.bias ? at(a.bias, s) : 0, Number(a.rest[s])];
  const lines = [[say("largest", { count: shown }), sumOf(products)]];
  if (a.in_features > shown) lines.push([say("otherTerms", { count: a.in_features - shown }), rest]);
  if (a.bias) lines.push([say("bias"), bias]);
  const facts = { count: whole(a.in_features), shown };
  const size = sizeOf([...products, rest, bias]);
  return [text(a.in_features > shown ? "termsText" : "allTermsText", facts), termTable(say("feature"), terms),
    finished(lines, sumOf(products) + rest + bias, size, a.in_features, at(a.results, s), a.then)];
};

// The one input of a layer that works value by value.
const inputOf = (layer, opened, s, r, k) => (opened.whole === null ? at(opened.windows, s, r, k, 0, 0)
  : at(record.tensors[opened.whole], layer.maps.channels[s], opened.rows[r], opened.columns[k]));

const normalisation = (layer, a, s, r, k) => {
  const x = inputOf(layer, a.opened, s, r, k);
  const [mean, variance] = [at(a.mean, s), at(a.variance, s)];
  const [weight, bias] = [a.weight ? at(a.weight, s) : 1, a.bias ? at(a.bias, s) : 0];
  const scale = weight / Math.sqrt(variance + a.epsilon);
  const shift = bias - mean * scale;
  const lines = [["x", x], [say("mean"), mean], [say("variance"), variance], [say("epsilon"), a.epsilon],
    [say("weight"), weight], [say("bias"), bias]];
  const size = (Math.abs(x) + Math.abs(mean)) * Math.abs(scale) + Math.abs(bias);
  const result = at(a.opened.results, s, r, k);
  const facts = { scale: digits(scale, 6), sign: shift < 0 ? "−" : "+", shift: digits(Math.abs(shift), 6) };
  return [make("p.theory", {}, say("normText")),
    finished(lines, (x - mean) * scale + bias, size, 8, result, a.then, "y"),
    make("p.theory", {}, say("normMap", facts))];
};

const activation = (layer, a, s, r, k) => {
  const x = inputOf(layer, a.opened, s, r, k);
  const result = at(a.opened.results, s, r, k);
  const apply = functionOf(a.function, a.formula);
  const y = apply ? apply(x) : result;
  return [make("p.theory", {}, `y = ${a.formula || `${a.function}(x)`}`),
    sumTable([["x", x], [`${a.function}(x)`, y]]),
    apply ? compared(y, result, 16 * UNIT * (Math.abs(x) + Math.abs(result))) : unchecked(result)];
};

const gated = (layer, a, s, r, k) => {
  const channel = layer.maps.channels[s];
  const [x, gate] = [inputOf(layer, a.opened, s, r, k), at(a.gates, channel)];
  const facts = { channel, mean: digits(at(a.means, channel)), gate: digits(gate) };
  return [text("gateText", facts),
    sumTable([["x", x], [say("gate"), gate], [`x × ${say("gate")}`, x * gate]]),
    compared(x * gate, at(a.opened.results, s, r, k), 4 * UNIT * Math.abs(x * gate))];
};

const OPERATIONS = {
  add: ["+", (x, y) => x + y],
  subtract: ["−", (x, y) => x - y],
  multiply: ["×", (x, y) => x * y],
};
const join = (layer, a, s, r, k) => {
  const result = at(a.opened.results, s, r, k);
  const [y, x] = [a.opened.rows[r], a.opened.columns[k]];
  const named = (id) => (id === null ? say("constant") : layers[id].name);
  const linked = (id, channel, said) => (id === null ? said : link({ layer: id, channel, y, x }, said));
  if (a.operation === "concatenate") {
    const [operand, channel] = a.origin[s];
    const id = a.inputs[operand];
    const facts = { channel: layer.maps.channels[s], of: channel, layer: named(id) };
    return [make("p", {}, say("joinText.concatenate", facts), " ", linked(id, channel, say("openInput"))),
      unchecked(result)];
  }
  const [sign, operate] = OPERATIONS[a.operation];
  const values = a.inputs.map((_, operand) => at(a.operands, operand, s, r, k));
  const total = values.reduce(operate);
  const line = (value, operand) => {
    const id = a.inputs[operand];
    return [make("span", {}, operand ? `${sign} ` : "", linked(id, layer.maps.channels[s], named(id))), value];
  };
  return [text(`joinText.${a.operation}`),
    sumTable([...values.map(line), [say(a.operation === "multiply" ? "product" : "sum"), total]]),
    compared(total, result, values.length * UNIT * sizeOf([...values, total]))];
};

const ARITHMETIC = { Convolution: convolution, Pool: pool, Dense: dense, BatchNorm: normalisation,
  Activation: activation, SqueezeExcite: gated, Join: join };
