"""A real browser for the pages, and what pages must not do whatever text stands in them."""

import base64
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import strategies as st
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[WebDriver]:
    """Headless Chromium of the machine; downloads land in its attribute ``downloads``."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    downloads: Path = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    window.downloads = downloads
    yield window
    window.quit()


FRAGMENTS = (
    *(
        "<script>document.title='owned'</script>",
        "</script>",
        "</style>",
        "</title>",
        "<!--",
        "-->",
        "]]>",
        "<b>",
        "&lt;",
    ),
    *('"', "'", "`", "=", "<img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "' autofocus onfocus='alert(1)"),
    *("javascript:alert(1)", "{{ 7 * 7 }}", "{% raw %}", "${x}", "\\u003c", "\\", "__proto__", "constructor"),
    *("\u2028", "\u2029", "\u202e", "\u200f", "\ufeff", "\x00", "\r\n", "\x1b[31m", "a" * 3000),
)


@pytest.fixture(scope="session")
def hostile() -> st.SearchStrategy[str]:
    """Any text, or pieces that end or begin something in HTML, JavaScript or Jinja."""
    return st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), min_size=1, max_size=4).map("".join)


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":  # where a long name may be broken
            self.found[tag, tuple(sorted(name for name, _ in attrs))] += 1


@pytest.fixture(scope="session")
def outline() -> Callable[[str], Counter]:
    """Count the elements of a page by name and names of attributes, as a parser of HTML sees them."""

    def count(page: str) -> Counter:
        parser = _Outline()
        parser.feed(page)
        parser.close()
        return parser.found

    return count


@pytest.fixture(scope="session")
def policy() -> Callable[[str], dict[str, str]]:
    """Return the directives of a page's content security policy, whose hashes must be those of what the page holds."""

    def read(page: str) -> dict[str, str]:
        metas = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
        assert len(metas) == 1
        assert page.index(metas[0]) < page.index("<style>")
        directives = dict(part.strip().split(" ", 1) for part in metas[0].split(";"))
        for name, element in (("script-src", "script"), ("style-src-elem", "style")):
            inside = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
            digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside]
            assert directives[name] == (" ".join(f"'sha256-{digest}'" for digest in digests) or "'none'")
        return directives

    return read


POLICY = {
    "default-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "img-src": "data:",
}


@pytest.fixture(scope="session")
def assert_is_safe(outline, policy) -> Callable[[str, str], None]:
    """Check a page with hostile text: a strict policy, and the elements of the same page with plain text."""

    def check(page: str, harmless: str) -> None:
        assert outline(page) == outline(harmless)
        directives = policy(page)
        assert {name: directives[name] for name in POLICY} == POLICY
        assert directives.keys() - POLICY.keys() == {"script-src", "style-src", "style-src-elem", "style-src-attr"}
        assert "unsafe-eval" not in page.partition("<style>")[0]

    return check
