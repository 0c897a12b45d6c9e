"""The command that follows one image through a model."""

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.common import CustomCode, warn, write
from lamina.errors import InputError


def explain(
    target: Annotated[
        str,
        typer.Argument(
            help="A trained run's folder, a name of lamina.models, pkg.mod:factory, "
            "file.py:factory or a .keras file.",
            metavar="MODEL|RUN",
        ),
    ],
    image: Annotated[Path, typer.Argument(help="An image file.", metavar="IMAGE")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the page to this file.")] = Path(
        "explain.html"
    ),
    weights: Annotated[
        Path | None,
        typer.Option(help="The model's weights: a .safetensors, .pt, .pth or .weights.h5 file."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The run's pkg.mod:factory or file.py:factory, if it has one."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Of the image as the model takes it: a side, rows,columns or "
            "channels,rows,columns.  [default: found by trying, 224 first]"
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="A number per channel, of pixels from 0 to 1.  [default: ImageNet's]"),
    ] = None,
    deviation: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="A text file with the name of a class on every line.")
    ] = None,
    allow_custom_code: CustomCode = False,
) -> None:
    """Follow an image through a model, on one page: every layer, the arithmetic of a pixel."""
    import os

    # A factory may build a Keras model; only one on the torch backend is made of modules.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow where it can

    from lamina.inspector.command import check_out
    from lamina.inspector.explain import Page
    from lamina.inspector.explain import explain as follow
    from lamina.interchange.files.reading import read_model
    from lamina.models import names

    check_out(out)
    sizes = _whole("size", size)
    means, deviations = _numbers("mean", mean), _numbers("deviation", deviation)
    page: Page
    if Path(target).is_dir():
        from lamina.train.explained import explain_file
        from lamina.train.predict import load_run

        own = {"weights": weights, "size": size, "mean": mean, "deviation": deviation}
        own |= {"classes": classes}
        for name, value in own.items():
            if value is not None:
                raise InputError(f"{name}: the run {target} knows it; leave it out")
        network, facts = load_run(Path(target), model=model, warn=warn)
        page = explain_file(network, facts, image, title=Path(target).resolve().name)
    else:
        if model is not None:
            raise InputError(f"model: speaks of a run's folder, there is none called {target!r}")
        if weights is None:
            network = read_model(target, allow_custom_code=allow_custom_code)
        else:
            network = read_model(str(weights), model=target, allow_custom_code=allow_custom_code)
        page = follow(
            network,
            image,
            classes=None if classes is None else _lines(classes),
            size=sizes,
            mean=means,
            deviation=deviations,
            title=target,
            random_weights=weights is None and target in names(),
        )
    write(out, page.html)
    answer = page.record.answer
    if answer is not None:
        from lamina.report.units import percent, printable

        best = answer.classes[0]
        print(f"{printable(best.name)}\t{percent(best.probability)}")
    print(f"page: {out}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"classes: cannot read {path} ({type(error).__name__})") from error


def _whole(name: str, text: str | None) -> tuple[int, int] | tuple[int, int, int] | None:
    numbers = _numbers(name, text)
    if numbers is None:
        return None
    sizes = [int(number) for number in numbers]
    if sizes != numbers or len(sizes) > 3:
        raise InputError(f"{name}: expected one to three whole numbers, got {text!r}")
    if len(sizes) == 3:
        return sizes[0], sizes[1], sizes[2]
    return sizes[0], sizes[-1]


def _numbers(name: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name}: expected numbers such as 0.5,0.5,0.5, got {text!r}") from None
