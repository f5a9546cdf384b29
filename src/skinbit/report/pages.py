"""Pages: one self-contained HTML file each, that opens from disk and loads nothing."""

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from skinbit import __version__

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(template: str, **values: Any) -> str:
    """Render a page from its template.

    Text is escaped wherever it stands; data for the page's script go through Jinja's ``tojson``, which leaves no
    character that HTML could take for markup. A content security policy in ``base.html.j2`` forbids every request, and
    every script and style sheet but the page's own, which it names by their hashes.

    Args:
        template: File name in ``skinbit/report/templates``; extends ``base.html.j2``.
        **values: All that the template names; a missing one is an error.

    Returns:
        The page; equal values give equal text.
    """
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> "Environment":
    """Return what compiles each template once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["hash_source"] = _hash_source
    return environment


def _hash_source(text: str) -> str:
    """Return the hash of a script or style sheet, by which a content security policy allows it and no other."""
    from markupsafe import Markup

    if not text:
        return Markup("'none'")
    digest = hashlib.sha256(text.encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")
