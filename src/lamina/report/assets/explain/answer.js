"use strict";
// The answer: the image under the map of where a class's score comes from.
const picture = paintPicture();
const answer = document.getElementById("answer-image");
const paintAnswer = (chosen) => {
  const note = document.getElementById("answer-note");
  const map = record.class_maps[chosen];
  const scale = sizeCanvas(answer, picture.height, picture.width);
  const context = answer.getContext("2d");
  context.imageSmoothingEnabled = Math.max(picture.height, picture.width) > 96;
  const ground = map ? paintPicture({ grey: true }) : picture;
  context.drawImage(ground, 0, 0, picture.width * scale, picture.height * scale);
  note.textContent = "";
  if (!map) return;
  const values = numbers(map.values);
  const [rows, columns] = map.values.shape;
  const reach = greatest(values.map(Math.abs)) || 1;
  const isGradient = map.method === "gradient map";
  const colour = (value) => {
    if (isGradient) return between(VIRIDIS, value / reach);
    return value < 0 ? [63, 127, 208] : [255, 140, 40];
  };
  const weight = (value) => 215 * Math.sqrt(Math.abs(value) / reach);
  const over = canvasOf(columns, rows, (i) => [...colour(values[i]), weight(values[i])]);
  context.imageSmoothingEnabled = true;
  context.drawImage(over, 0, 0, answer.width, answer.height);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const facts = { mean: digits(mean), bias: digits(map.bias), score: digits(mean + map.bias) };
  note.textContent = say(isGradient ? "overlayGradient" : "overlayCam", facts);
  note.dataset.score = mean + map.bias;
};
if (answer) {
  const choices = [...document.querySelectorAll("input[name=class-map]")];
  for (const choice of choices) choice.addEventListener("change", () => paintAnswer(choice.value));
  const chosen = choices.find((choice) => choice.checked);
  paintAnswer(chosen ? chosen.value : -1);
}
