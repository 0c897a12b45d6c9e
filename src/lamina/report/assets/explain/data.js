"use strict";
// The record, its arrays decoded when they are first needed, and what every drawing shares.
const record = JSON.parse(document.getElementById("record").textContent);
const strings = JSON.parse(document.getElementById("strings").textContent);
const layers = record.layers;

const KINDS_OF_ARRAYS = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array };
const decoded = new WeakMap();
const numbers = (array) => {
  if (!decoded.has(array)) {
    const text = atob(array.data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    decoded.set(array, new KINDS_OF_ARRAYS[array.dtype](bytes.buffer));
  }
  return decoded.get(array);
};
// One number of an array by its place on each axis.
const at = (array, ...places) =>
  numbers(array)[places.reduce((flat, place, axis) => flat * array.shape[axis] + place, 0)];

// A string of the page: {name} is filled in, and "one|many" chosen by `count`.
const say = (key, values = {}) => {
  const forms = strings[key].split("|");
  const form = forms.length > 1 && values.count !== 1 ? forms[1] : forms[0];
  return form.replace(/\{(\w+)\}/g, (_, name) => values[name]);
};

const minus = (text) => text.replace(/-/g, "−");
const digits = (value, significant = 4) => {
  const number = Number(value);
  if (!Number.isFinite(number)) return minus(String(number));
  const rounded = Number(number.toPrecision(significant));
  const size = Math.abs(number);
  const isFar = size !== 0 && (size >= 1e7 || size < 1e-4);
  return minus(isFar ? rounded.toExponential() : String(rounded));
};
const precise = (value) => digits(value, 8);
const whole = (value) => Math.round(value).toLocaleString("en");
const percent = (share) => `${digits(100 * share, 3)} %`;
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const short = (value) => {
  const [scale, prefix] = PREFIXES.find(([size]) => value >= size) || [1, ""];
  return prefix ? `${digits(value / scale, 3)} ${prefix}` : whole(value);
};

// Elements: make("p.note", { title: "…" }, "text", child, …). Text is never read as markup.
const fill = (element, properties, children) => {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style") Object.assign(element.style, value);
    else if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== ""));
  return element;
};
const make = (what, properties = {}, ...children) => {
  const [name, ...classes] = what.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, properties, children);
};
const draw = (name, properties = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
// A number that is read off the page as exactly as the page knows it.
const number = (value, form = precise) => make("span.value", { "data-value": String(value) }, form(value));

// Of arrays too long to be spread into arguments.
const least = (values) => values.reduce((best, value) => Math.min(best, value), Infinity);
const greatest = (values) => values.reduce((best, value) => Math.max(best, value), -Infinity);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const nearest = (places, wanted) =>
  places.reduce((best, place, index) =>
    Math.abs(place - wanted) < Math.abs(places[best] - wanted) ? index : best, 0);

// A listbox: one of its options can be reached by Tab, arrow keys move and choose.
const listbox = (list, choose) => {
  const options = () => [...list.querySelectorAll("[role=option]")];
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(option);
  });
  list.addEventListener("keydown", (event) => {
    const all = options();
    const here = all.indexOf(event.target.closest("[role=option]"));
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -here,
      End: all.length - 1 - here };
    if (here < 0 || !(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const option = all[clamp(here + steps[event.key], 0, all.length - 1)];
    choose(option);
    option.focus();
  });
};
const mark = (list, chosen) => {
  for (const option of list.querySelectorAll("[role=option]")) {
    option.setAttribute("aria-selected", String(option === chosen));
    option.tabIndex = option === chosen ? 0 : -1;
  }
};
