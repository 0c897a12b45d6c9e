"""What the inspector costs and how well its times add up, on an idle machine."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lamina import models
from lamina.inspector import inspect
from lamina.inspector.health.observer import Observer

IMAGE, DIGITS = (1, 3, 224, 224), (64, 1, 8, 8)
MEMORY = """
import resource, sys
import torch
from torch import nn
from lamina import models
from lamina.inspector import inspect

size = (int(sys.argv[2]), 3, 224, 224)
inspect(nn.Conv2d(3, 3, 3), (1, 3, 8, 8))  # what PyTorch imports once
model = models.get("resnet50")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "count":
    inspect(model, size, training=True)
else:
    model(torch.rand(size)).sum().backward()
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def spread(values: list[float]) -> str:
    """Median, and the quartiles."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.3g} ({low:.3g} to {high:.3g})"


def counting() -> str:
    """Counting ResNet-50, forward and backward."""
    model, seconds = models.get("resnet50"), []
    for _ in range(7):
        start = perf_counter()
        inspect(model, IMAGE)
        seconds.append(perf_counter() - start)
    return f"{spread(seconds)} s"


def memory(batch: int) -> str:
    """What counting takes of the memory that a real training step takes."""

    def grown(what: str) -> int:
        command = [sys.executable, "-c", MEMORY, what, str(batch)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    count, real = grown("count"), grown("run")
    return f"{count / 2**20:.0f} MiB of {real / 2**20:.0f} MiB: {count / real:.1%}"


def rest(name: str) -> str:
    """What the rows leave of the whole, of three measurements."""
    totals = [inspect(models.get(name), IMAGE, measure=True).totals for _ in range(3)]
    forward = [t.rest_forward / t.time_forward.median for t in totals]
    backward = [t.rest_backward / t.time_backward.median for t in totals]
    return f"forward {median(forward):+.1%}, backward {median(backward):+.1%}"


def monitor(name: str, size: tuple[int, ...] = (8, 3, 96, 96), every: int = 50) -> str:
    """A watched step against an unwatched one, in turn; the share that one in ``every`` costs."""
    model = models.get(name, num_classes=10).train()
    x, target = torch.rand(size), torch.randint(10, size[:1])
    optimiser = torch.optim.AdamW(model.parameters())
    observer, spent = Observer(model), {True: [], False: []}
    for step in range(24):
        watched = bool(step % 2)
        start = perf_counter()
        if watched:
            observer.begin()
        loss = cross_entropy(model(x), target)
        if watched:
            observer.forward_done()
        optimiser.zero_grad()
        loss.backward()
        if watched:
            observer.gradients()
        optimiser.step()
        if watched:
            observer.finish()
        if step >= 4:
            spent[watched].append(perf_counter() - start)
    bare, seen = median(spent[False]), median(spent[True])
    return f"{(seen - bare) / every / bare:.2%} (a watched step takes {seen / bare:.2f} times one)"


def opening() -> str:
    """A browser's time for a picture of the page, less that for one of an empty page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return "no chromium here"
    account = inspect(models.get("resnet50"), IMAGE, measure=True, seconds=1.0)
    with tempfile.TemporaryDirectory() as folder:

        def pictured(page: Path) -> float:
            start = perf_counter()
            subprocess.run(
                [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-quic", "--disable-background-networking", "--disable-sync",
                 "--disable-component-update", f"--user-data-dir={folder}/profile",
                 f"--screenshot={folder}/page.png", page.as_uri()],
                capture_output=True, check=True, timeout=60,
            )  # fmt: skip
            return perf_counter() - start

        page, empty = Path(folder) / "page.html", Path(folder) / "empty.html"
        page.write_text(account.to_html(), encoding="utf-8")
        empty.write_text("<!doctype html>", encoding="utf-8")
        pictured(empty)
        times = [pictured(page) - pictured(empty) for _ in range(5)]
        return f"{spread(times)} s, {page.stat().st_size / 2**10:.0f} KiB"


def main() -> None:
    """Print the table."""
    inspect(nn.Conv2d(3, 3, 3), (1, 3, 8, 8))
    print("| what | to reach | measured |\n| --- | --- | --- |")
    for what, aim, run in (
        ("counting ResNet-50 at 224, both passes", "under 2 s", counting),
        ("its memory, batch 1, of a real run's", "under 10 %", lambda: memory(1)),
        ("its memory, batch 16", "under 10 %", lambda: memory(16)),
        ("rest of the whole, MobileNetV2", "within 10 %", lambda: rest("mobilenet_v2")),
        ("rest of the whole, ResNet-50", "within 10 %", lambda: rest("resnet50")),
        ("health monitor, digits_cnn, 64×8×8", "under 5 %", lambda: monitor("digits_cnn", DIGITS)),
        ("health monitor, MobileNetV2, 8×96×96", "under 5 %", lambda: monitor("mobilenet_v2")),
        ("health monitor, ResNet-18, 8×96×96", "under 5 %", lambda: monitor("resnet18")),
        ("the page of ResNet-50, opened and drawn", "1 s", opening),
    ):
        print(f"| {what} | {aim} | {run()} |", flush=True)


if __name__ == "__main__":
    main()
