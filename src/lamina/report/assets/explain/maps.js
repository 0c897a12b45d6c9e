"use strict";
// Feature maps and the image on canvases, in colours that the colour-blind tell apart.
const dark = matchMedia("(prefers-color-scheme: dark)");
const VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58",
  "b5de2b", "fde725"];
// From negative over the page's own ground to positive.
const diverging = () => dark.matches
  ? ["7db8ff", "3f7fd0", "274a78", "1c1f25", "7a4a1f", "d07a2a", "ffbe73"]
  : ["123f7a", "3f7fc0", "a9c8e6", "f6f4f0", "f3c48f", "d9792b", "8a3f0a"];

const between = (stops, share) => {
  const place = clamp(share || 0, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return [0, 2, 4].map((from) => {
    const [a, b] = [stops[low], stops[low + 1]].map((stop) => parseInt(stop.slice(from, from + 2), 16));
    return Math.round(a + (b - a) * (place - low));
  });
};
// One scale for a layer: two-signed values spread from 0 to both sides, others from least to largest.
const scaleOf = (low, high) => {
  const signed = low < 0 && high > 0;
  const reach = Math.max(Math.abs(low), Math.abs(high));
  const [from, to] = signed ? [-reach, reach] : [low, high];
  const stops = signed ? diverging() : VIRIDIS;
  return { from, to, signed, colour: (value) => between(stops, to > from ? (value - from) / (to - from) : 0) };
};

const canvasOf = (columns, rows, colour) => {
  const canvas = make("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < columns * rows; i += 1) image.data.set(colour(i), 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
};

const valueOfByte = (maps, byte) => Number(maps.low) + (byte * (maps.high - maps.low)) / 255;
const paintMap = (maps, shown) => {
  const [, rows, columns] = maps.pixels.shape;
  const scale = scaleOf(Number(maps.low), Number(maps.high));
  const table = Array.from({ length: 256 }, (_, byte) => [...scale.colour(valueOfByte(maps, byte)), 255]);
  const bytes = numbers(maps.pixels).subarray(shown * rows * columns, (shown + 1) * rows * columns);
  return canvasOf(columns, rows, (i) => table[bytes[i]]);
};
const paintScale = (maps) => {
  const scale = scaleOf(Number(maps.low), Number(maps.high));
  const strip = canvasOf(128, 1, (i) => [...scale.colour(scale.from + (i / 127) * (scale.to - scale.from)), 255]);
  strip.setAttribute("aria-hidden", "true");
  return make("p.scale", {}, digits(scale.from), strip, digits(scale.to));
};
const paintPicture = ({ grey = false } = {}) => {
  const pixels = numbers(record.picture.pixels);
  const [rows, columns, colours] = record.picture.pixels.shape;
  return canvasOf(columns, rows, (i) => {
    const [red, green, blue] = [0, 1, 2].map((c) => pixels[i * colours + (colours === 3 ? c : 0)]);
    const luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    return grey ? [luma, luma, luma, 255] : [red, green, blue, 255];
  });
};

const accent = () => getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
const frame = (context, left, top, width, height) => {
  for (const [colour, line] of [["#fff", 9], [accent(), 5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(left, top, width, height);
  }
};

// What part of a map is in view at a zoom: as many cells along each axis, around the cursor.
const viewOf = (maps, zoom, y, x) => {
  const [rows, columns] = [maps.rows / zoom, maps.columns / zoom];
  return { rows, columns, top: clamp(y + 0.5 - rows / 2, 0, maps.rows - rows),
    left: clamp(x + 0.5 - columns / 2, 0, maps.columns - columns) };
};
const SIDE = 720; // pixels of a canvas along its longer side; the page scales it
const sizeCanvas = (canvas, rows, columns) => {
  const scale = SIDE / Math.max(rows, columns);
  canvas.width = Math.round(columns * scale);
  canvas.height = Math.round(rows * scale);
  return scale;
};
// A channel's map, the positions that can be opened, and the cursor.
const drawMap = (canvas, source, maps, view, opened, y, x) => {
  const cell = sizeCanvas(canvas, view.rows, view.columns);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(source, view.left / maps.step, view.top / maps.step, view.columns / maps.step,
    view.rows / maps.step, 0, 0, canvas.width, canvas.height);
  const apart = opened ? cell * Math.min(maps.rows / opened.rows.length, maps.columns / opened.columns.length) : 0;
  const isPart = opened && opened.rows.length * opened.columns.length < maps.rows * maps.columns;
  if (isPart && apart > 14) { // closer ones would hide the map
    const radius = clamp(cell / 6, 3, 6);
    for (const row of opened.rows) {
      for (const column of opened.columns) {
        context.beginPath();
        context.arc((column + 0.5 - view.left) * cell, (row + 0.5 - view.top) * cell, radius, 0, 7);
        context.fillStyle = "rgb(255 255 255 / 75%)";
        context.fill();
        context.lineWidth = 1;
        context.strokeStyle = "rgb(0 0 0 / 55%)";
        context.stroke();
      }
    }
  }
  if (!opened) return;
  const side = Math.max(cell, 14);
  frame(context, (x + 0.5 - view.left) * cell - side / 2, (y + 0.5 - view.top) * cell - side / 2, side, side);
};

// The part of the image that a position sees, clipped to the image.
const seenBy = (field, y, x) => {
  const [rows, columns] = record.picture.pixels.shape;
  const along = (place, axis, size) => {
    const from = Number(field.start[axis]) + place * Number(field.step[axis]);
    const to = from + field.size[axis];
    return { from: Math.max(0, from), to: Math.min(size, to), padded: from < 0 || to > size };
  };
  const [down, right] = [along(y, 0, rows), along(x, 1, columns)];
  return { top: down.from, bottom: down.to, left: right.from, right: right.to,
    padded: down.padded || right.padded,
    whole: down.from <= 0 && right.from <= 0 && down.to >= rows && right.to >= columns };
};
const drawSeen = (canvas, picture, seen) => {
  const scale = sizeCanvas(canvas, picture.height, picture.width);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = Math.max(picture.height, picture.width) > 96;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (!seen || seen.whole) return;
  const [left, top] = [seen.left * scale, seen.top * scale];
  const [width, height] = [(seen.right - seen.left) * scale, (seen.bottom - seen.top) * scale];
  context.fillStyle = "rgb(12 14 18 / 58%)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left, top, width, height);
  context.fill("evenodd");
  const grown = Math.max(0, 12 - width) / 2;
  frame(context, left - grown, top - grown, width + 2 * grown, height + 2 * grown);
};
