"""Numbers and names as a reader wants them: thousands, SI prefixes, percentages, durations."""

import math

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float | None) -> str:
    """Write a whole number with its thousands apart; None is an en dash.

    >>> count(3504872)
    '3,504,872'
    """
    return "–" if value is None else f"{round(value):,}"


def si(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Write a number with ``digits`` significant figures and an SI prefix.

    >>> si(300774272), si(0.0042, "s"), si(999.96), si(0)
    ('301 M', '4.2 ms', '1 k', '0')
    """
    if value is None or not math.isfinite(value):
        return "–" if value is None else str(value)
    if value == 0:
        return f"0 {unit}".strip()
    rounded = float(f"{value:.{digits}g}")
    size = abs(rounded)
    if size >= 1000:
        scale, prefix = next(pair for pair in _PREFIXES if size >= pair[0])
    elif size < 1 and unit:
        # A bare fraction needs no prefix; one with a unit does (4 ms, not 0.004 s).
        scale, prefix = next(
            (pair for pair in ((1e-3, "m"), (1e-6, "µ")) if size >= pair[0]), (1e-9, "n")
        )
    else:
        scale, prefix = 1.0, ""
    number = f"{float(f'{rounded / scale:.{digits}g}'):.12g}"
    return f"{number} {prefix}{unit}".strip()


def binary_bytes(value: float | None) -> str:
    """Write a size in bytes with a binary prefix.

    >>> binary_bytes(12845056), binary_bytes(512)
    ('12.2 MiB', '512 B')
    """
    if value is None:
        return "–"
    for scale, prefix in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {prefix}"
    return f"{value:.0f} B"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 1 as a percentage.

    >>> percent(0.98765), percent(None)
    ('98.8 %', '–')
    """
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Write a time span for a person.

    >>> duration(0.25), duration(42.31), duration(125), duration(7384)
    ('0.2 s', '42.3 s', '2 min 5 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def shape(sizes: tuple[int, ...] | None) -> str:
    """Write a tensor's shape.

    >>> shape((1, 64, 28, 28))
    '1×64×28×28'
    """
    return "–" if sizes is None else "×".join(str(size) for size in sizes) or "scalar"


def printable(text: str) -> str:
    r"""Return ``text`` with control characters spelt out: a name must not drive a terminal.

    >>> printable("cat\x1b[2J")
    'cat\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
