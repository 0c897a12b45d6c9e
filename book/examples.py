"""For the reference: a docstring's "Example:" is shown as the code that it is."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """griffe knows the section under the name "Examples" alone."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of every docstring that is collected."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
