"""What the site needs beyond its theme: links in docstrings, and pages that work from disk."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

_ROLE = re.compile(r":(?:func|class|mod|meth):<code>([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Turn Sphinx roles, such as ``:func:`unit_vectors```, into links; names that are not on the site stay as code.

    Args:
        html: Of one page, before references are resolved.

    Returns:
        The page with a reference per role.
    """
    return _ROLE.sub(_reference, html)


def _reference(role: re.Match[str]) -> str:
    name = role[1]
    return f'<autoref optional identifier="{name}"><code>{name.rpartition(".")[2]}</code></autoref>'


def on_post_build(config: MkDocsConfig) -> None:
    """Write the search index as a script, too: opened from disk, the theme's script stops without it.

    Args:
        config: Of the site.
    """
    search = Path(config.site_dir) / "search"
    index = (search / "search_index.json").read_text(encoding="utf-8")
    (search / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")
