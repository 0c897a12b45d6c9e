"""A hook of MkDocs: addresses in a page's own HTML lead where those in its Markdown lead.

MkDocs rewrites Markdown's addresses alone, and a page in another language lies in a folder of its
own: what its ``<picture>`` shows would be looked for there.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ADDRESS = re.compile(r'(\b(?:src|srcset)=)"([^":]+)"')


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Return the page with the addresses of files that the documentation has made its own.

    Args:
        markdown: the page's text.
        page: where it stands.
        files: of the documentation.
    """
    folder = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        file = files.get_file_from_path(posixpath.normpath(posixpath.join(folder, found[2])))
        return found[0] if file is None else f'{found[1]}"{file.url_relative_to(page.file)}"'

    return _ADDRESS.sub(led, markdown)
