"""Pages: one self-contained HTML file each, that opens from disk and loads nothing."""

from typing import Any

from skinbit import __version__


def render_page(template: str, **values: Any) -> str:
    """Fill in a page.

    Text is escaped wherever it stands; data for the page's script go through Jinja's ``tojson``, which leaves no
    character that HTML could take for markup. A content security policy in ``base.html.j2`` forbids every request.

    Args:
        template: File name in ``skinbit/report/templates``; extends ``base.html.j2``.
        **values: What the template names; one that is missing is an error.

    Returns:
        The page; equal values give equal text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(version=__version__, **values)
