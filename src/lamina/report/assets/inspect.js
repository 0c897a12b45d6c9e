"use strict";
// The column of layers takes the colour that the reader chooses: a kind, or one of seven levels.
const blocks = [...document.querySelectorAll("rect.block")];
const colour = (what) => {
  for (const block of blocks) {
    const level = block.dataset[what];
    const paint = what === "kind" ? `kind-${level}` : `heat-${level === undefined ? "none" : level}`;
    block.setAttribute("class", `block ${paint}`);
  }
  for (const key of document.querySelectorAll("[data-key]")) key.hidden = key.dataset.key !== what;
};
for (const choice of document.querySelectorAll("input[name=colouring]")) {
  choice.addEventListener("change", () => colour(choice.value));
}
// A click on a block, a point, a bar or a line of the table opens that layer's card.
const open = (row) => {
  const card = document.getElementById(`card-${row}`);
  if (!card) return;
  card.closest("details.list").open = true;
  card.open = true;
  card.scrollIntoView({ block: "center" });
  for (const old of document.querySelectorAll(".chosen")) old.classList.remove("chosen");
  for (const mark of document.querySelectorAll(`[data-row="${row}"]`)) mark.classList.add("chosen");
};
for (const mark of document.querySelectorAll("[data-row]")) {
  mark.addEventListener("click", () => open(mark.dataset.row));
}
const layers = document.getElementById("layers");
[...layers.tBodies[0].rows].forEach((line, row) => line.addEventListener("click", () => open(row)));
// On paper every card that has something to say beside its numbers is open.
window.addEventListener("beforeprint", () => {
  for (const card of document.querySelectorAll("details.list, details.card.says")) card.open = true;
});
