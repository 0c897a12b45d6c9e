"""What a conversion did and what its proof found: records in, a terminal's tables or a page out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lamina.report import html
from lamina.report.html import Html, tag
from lamina.report.table import Column, Table, to_terminal, to_text
from lamina.report.units import count, printable, shape

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Change",
    "Comparison",
    "Conversion",
    "Proof",
    "changes_table",
    "conversion_page",
    "layers_table",
    "render",
    "to_plain",
]


Kind = Literal["output", "statistic", "loss", "gradient", "weight"]
"""Output: in evaluation. The others are of one training step."""


@dataclass(frozen=True)
class Comparison:
    """One tensor on both sides.

    Attributes:
        kind: what it is.
        layer: whose it is, in the model that was given.
        what: the operation, or the weight's name in Keras.
        difference: the largest, relative to the tensor's largest magnitude; infinite where the
            two cannot be compared.
        bound: what float32 and the tolerance allow.
        remark: why the two cannot be compared, such as their shapes.
    """

    kind: Kind
    layer: str
    what: str
    difference: float
    bound: float
    remark: str = ""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the bound; a NaN is not."""
        return self.difference <= self.bound


@dataclass(frozen=True)
class Proof:
    """What both sides gave for the same inputs.

    Attributes:
        rows: in the order in which they are computed: outputs, statistics, loss, then gradients
            from the last layer to the first, then weights after the step.
        ran_on: what the sides ran on, such as "Keras on TensorFlow 2.21.0".
        remark: why it is not TensorFlow, or what else a reader must know; may be empty.
        inputs: their shapes as Keras has them.
        seed: of the inputs and of the loss.
        trap: the key of the likely trap, empty if nothing differs or none is known.
        suspicion: a sentence on it.
    """

    rows: Sequence[Comparison]
    ran_on: Sequence[str]
    remark: str
    inputs: Sequence[tuple[int, ...]]
    seed: int
    trap: str = ""
    suspicion: str = ""

    @property
    def first(self) -> Comparison | None:
        """The first row that exceeds its bound."""
        return next((row for row in self.rows if not row.holds), None)

    @property
    def holds(self) -> bool:
        """Whether every row is within its bound."""
        return self.first is None

    @property
    def verdict(self) -> str:
        """One sentence: proven, or where it differs first and why that may be."""
        if (first := self.first) is None:
            worst = max((row.difference for row in self.rows if row.kind == "output"), default=0.0)
            return (
                f"proven: {len(self.rows):,} tensors agree, outputs within {worst:.1e} "
                f"({', '.join(self.ran_on)})"
            )
        where = f"{first.kind} of layer {first.layer!r}"
        if first.what != first.layer:
            where += f" ({first.what})"
        said = first.remark or f"differs by {first.difference:.1e}, allowed {first.bound:.1e}"
        return f"differs: {where}: {said}" + (f"; {self.suspicion}" if self.suspicion else "")


@dataclass(frozen=True)
class Change:
    """What became of one thing of a layer, with the row of the table of traps.

    Attributes:
        layer: its name in the model that was given.
        fate: changed in form, approximated or dropped.
        what: what became of it.
        topic: what the frameworks differ in.
        effect: what a port that ignores it gets.
    """

    layer: str
    fate: str
    what: str
    topic: str
    effect: str


@dataclass(frozen=True)
class Conversion:
    """A conversion from one file or model to another.

    Attributes:
        source: what was given.
        target: what was written.
        layers: the names of all layers that crossed.
        parameters: elements of weights, statistics too.
        changes: what is not as it was.
        proof: None where none was asked for.
        written: the names of the files that were written; none where the proof failed.
        remarks: what else a reader must know of the files.
    """

    source: str
    target: str
    layers: Sequence[str]
    parameters: int
    changes: Sequence[Change]
    proof: Proof | None = None
    written: Sequence[str] = ()
    remarks: Sequence[str] = ()

    @property
    def lossless(self) -> list[str]:
        """Layers that crossed as they are."""
        noted = {change.layer for change in self.changes}
        return [layer for layer in dict.fromkeys(self.layers) if layer not in noted]

    @property
    def verdict(self) -> str:
        """The proof's, or that there is none."""
        return self.proof.verdict if self.proof else "not verified; --verify proves it"


_FATES = {"dropped": "dropped", "approximated": "approximated", "changed": "changed in form"}


def changes_table(conversion: Conversion, *, grouped: bool = False) -> Table:
    """What is not as it was, and why; what is gone stands first.

    Args:
        conversion: what is shown.
        grouped: one row for all layers of which the same is to be said.
    """
    layers: dict[Change, list[str]] = {}
    for change in sorted(conversion.changes, key=lambda change: [*_FATES].index(change.fate)):
        said = replace(change, layer="") if grouped else change
        layers.setdefault(said, []).append(change.layer)
    return Table(
        (
            Column("layer", "Layers" if grouped else "Layer", _few),
            Column("fate", "Fate"),
            Column("what", "What"),
            Column("topic", "Frameworks differ in"),
            Column("effect", "Without it"),
        ),
        [
            {**vars(change), "layer": names, "fate": _FATES[change.fate]}
            for change, names in layers.items()
        ],
    )


def _few(names: Sequence[str]) -> str:
    """The first name, and how many more: a row has a line."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def layers_table(proof: Proof) -> Table:
    """Every layer with the largest difference of each kind; ``first`` marks where it begins."""
    kinds: tuple[Kind, ...] = ("output", "statistic", "gradient", "weight")
    by_layer: dict[str, dict[str, Comparison]] = {}
    for row in proof.rows:
        worst = by_layer.setdefault(row.layer, {})
        if row.kind not in worst or _excess(row) > _excess(worst[row.kind]):
            worst[row.kind] = row
    first = proof.first
    rows = []
    for layer, worst in by_layer.items():
        excess = max(worst.values(), key=_excess)
        begins = first is not None and first.layer == layer
        said = "first to differ" if begins else "" if excess.holds else "differs"
        differences: dict[str, float | None] = {
            kind: worst[kind].difference if kind in worst else None for kind in kinds
        }
        rows.append({"layer": layer, **differences, "bound": excess.bound, "said": said})
    return Table(
        (
            Column("layer", "Layer"),
            *(Column(kind, kind.capitalize(), _difference, "right") for kind in kinds),
            Column("bound", "Bound", _difference, "right"),
            Column("said", ""),
        ),
        rows,
    )


def render(conversion: Conversion, *, rows: int = 12) -> RenderableType:
    """The verdict, what changed, and the layers that differ most, for a terminal.

    Args:
        conversion: what is shown.
        rows: of the table of layers at most.
    """
    from rich.console import Group
    from rich.text import Text

    head, *lines = _lines(conversion)
    tables = [to_terminal(table) for table in _tables(conversion, rows)]
    return Group(Text(head, style="bold"), *map(Text, lines), *tables)


def to_plain(conversion: Conversion, *, rows: int = 12) -> str:
    """The same as plain text at its natural width, for what reads a command's output."""
    tables = [f"\n{to_text(table)}" for table in _tables(conversion, rows)]
    return "\n".join([*_lines(conversion), *tables])


def _lines(conversion: Conversion) -> list[str]:
    layers = len(dict.fromkeys(conversion.layers))
    lines = [
        conversion.verdict,
        f"{conversion.source} → {conversion.target}: {layers} layers, "
        f"{conversion.parameters:,} elements, {len(conversion.lossless)} layers as they were",
    ]
    if conversion.proof is not None and conversion.proof.remark:
        lines.append(conversion.proof.remark)
    lines += conversion.remarks
    return [printable(line) for line in lines]


def _tables(conversion: Conversion, rows: int) -> list[Table]:
    tables = [changes_table(conversion, grouped=True)] if conversion.changes else []
    if conversion.proof is not None:
        every = layers_table(conversion.proof)
        most = sorted(every.rows, key=lambda row: (not row["said"], -_share(row)))[:rows]
        shown = [row for row in every.rows if any(row is one for one in most)]
        part = f"{len(shown)} of {len(every.rows)} layers, those that differ most"
        tables.append(
            replace(every, rows=shown, title=part if len(shown) < len(every.rows) else "")
        )
    return tables


def conversion_page(conversion: Conversion) -> str:
    """The report as one self-contained page."""
    proof = conversion.proof
    fates = [change.fate for change in conversion.changes]
    facts = [
        ("Layers", count(len(dict.fromkeys(conversion.layers))), "that crossed"),
        ("Elements", count(conversion.parameters), "of weights and statistics"),
        ("Lossless", count(len(conversion.lossless)), "layers as they are"),
        ("Changed", count(fates.count("changed")), "in form, the same numbers"),
        ("Approximated", count(fates.count("approximated")), "other numbers"),
        ("Dropped", count(fates.count("dropped")), "gone"),
    ]
    return html.page(
        printable(f"{conversion.source} → {conversion.target}"),
        tag(
            "section",
            [html.stats(facts), *(tag("p", printable(said)) for said in conversion.remarks)],
        ),
        html.section(
            "What is not as it was",
            _changes(conversion) if conversion.changes else tag("p", "Nothing."),
            lede="Each with the row of the table of traps that says why.",
        ),
        _proof_section(proof) if proof is not None else None,
        html.section(
            "As they were", tag("p", printable(", ".join(conversion.lossless)) or "None.")
        ),
        tag("footer", "Written by lamina. This file loads nothing and can be passed on as it is."),
        subtitle=printable(conversion.verdict),
    )


def _changes(conversion: Conversion) -> Html:
    """A row for all layers of which the same is to be said; every layer's own, folded away."""
    every = changes_table(conversion)
    grouped = changes_table(conversion, grouped=True)
    folded = tag("details", [tag("summary", "Layer by layer"), html.table(every)], class_="list")
    return tag("div", [html.table(grouped, identifier="changes"), folded])


def _proof_section(proof: Proof) -> Html:
    facts = {
        "Ran on": ", ".join(proof.ran_on) + (f" ({proof.remark})" if proof.remark else ""),
        "Inputs": ", ".join(map(shape, proof.inputs)),
        "Seed": proof.seed,
        "Dropout": "left out on both sides",
        "Training step": "a fixed projection of the outputs, SGD(0.01)",
    }
    search = tag(
        "input", type="search", placeholder="Filter layers", aria_label="Filter layers",
        data_filter="layers",
    )  # fmt: skip
    return html.section(
        "The proof",
        html.definitions(facts),
        search,
        html.table(layers_table(proof), identifier="layers"),
        lede="The largest difference of every layer, relative to its tensor's largest magnitude.",
    )


def _difference(value: float) -> str:
    return "cannot be compared" if math.isinf(value) else f"{value:.1e}"


def _excess(row: Comparison) -> float:
    return math.inf if math.isnan(row.difference) else row.difference / row.bound


def _share(row: object) -> float:
    values = [row[kind] for kind in ("output", "statistic", "gradient", "weight")]  # type: ignore[index]
    return max((value for value in values if value is not None), default=0.0)
