"""What a person must change or install: one line, shown without a traceback."""


class InputError(ValueError):
    """A value from outside that cannot be used; its message names it, what is allowed, what came.

    The command line prints the message on one line and leaves with exit code 2.
    """


class RunError(RuntimeError):
    """What failed although it was asked for rightly, such as a training that diverged.

    The command line prints the message on one line and leaves with exit code 1.
    """


class MissingExtraError(ImportError):
    """A feature whose packages ``pip install lamina`` alone does not bring.

    The command line prints the message on one line and leaves with exit code 2.
    """


def closest(name: str, allowed: list[str]) -> str:
    """Return ``"; did you mean 'digits'?"`` where a name in ``allowed`` is close, else nothing.

    >>> closest("digts", ["digits", "mobilenet_v2"])
    "; did you mean 'digits'?"
    >>> closest("xyz", ["digits"])
    ''
    """
    from difflib import get_close_matches

    matches = get_close_matches(name, allowed, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
