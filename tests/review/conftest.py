"""The browser of the other pages."""

from tests.report.conftest import chromium

__all__ = ["chromium"]
