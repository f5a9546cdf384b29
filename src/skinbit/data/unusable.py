"""The error for an unusable photograph."""


class UnusableError(ValueError):
    """An unusable photograph; the message gives the reason.

    Attributes:
        kind: Kind of the problem, a key of :data:`skinbit.data.problems.KINDS`.
        remedy: Remedy; empty: that of the kind.
    """

    def __init__(self, reason: str, kind: str = "unreadable", remedy: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.remedy = remedy


CONVERT = "convert the files to JPEG or PNG under the same names"

_ONE = "save the picture of the lesion as a separate file under the same name"


def refuse_several(are_several: bool) -> None:
    """Refuse a file with several pictures, since the intended one is unknown.

    Raises:
        UnusableError: If there are several.
    """
    if are_several:
        raise UnusableError("it contains several pictures (pages, frames)", remedy=_ONE)


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Refuse a photograph that is too large, before it is decoded.

    Raises:
        UnusableError: If it has more than ``max_pixels`` pixels.
    """
    if width * height > max_pixels:
        raise UnusableError(f"{width}x{height} pixels are more than data.max_pixels={max_pixels}", "too_large")


def lack_of(extra: str, package: str) -> UnusableError:
    """Return the error for a photograph that needs an extra which is not installed, with the command that installs it.

    Args:
        extra: Name of the extra, the format in lower case.
        package: Package that pip would install.
    """
    command = f"uv sync --extra {extra}"
    reason = f"{extra.upper()} needs an extra that is not installed: {command}"
    return UnusableError(reason, remedy=f"{command}; if pip installed Skinbit: pip install {package}")
