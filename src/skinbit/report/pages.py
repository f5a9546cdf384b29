"""Pages: self-contained HTML files that open from disk and load nothing."""

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from skinbit import __version__

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(template: str, **values: Any) -> str:
    """Return a page from its template.

    All text is escaped; data for the page's script pass through Jinja's ``tojson``, whose output HTML never reads as
    markup. The content security policy in ``base.html.j2`` forbids all requests, and all scripts and style sheets
    except the page's own, which it identifies by hash.

    Args:
        template: File name in ``skinbit/report/templates``, a template that extends ``base.html.j2``.
        **values: Values that the template uses; a missing one is an error.

    Returns:
        The page; equal values have equal pages.
    """
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> "Environment":
    """Return the template environment, which compiles each template once."""
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
    """Return the hash of a script or style sheet for the content security policy."""
    from markupsafe import Markup

    if not text:
        return Markup("'none'")
    digest = hashlib.sha256(text.encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")
