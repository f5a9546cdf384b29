"""What a photograph is refused with."""


class UnusableError(ValueError):
    """A photograph cannot be used; the message says why.

    Attributes:
        kind: Of the problem, a key of :data:`skinbit.data.problems.KINDS`.
        remedy: What mends it; empty: what mends every problem of its kind.
    """

    def __init__(self, reason: str, kind: str = "unreadable", remedy: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.remedy = remedy


CONVERT = "convert the files to JPEG or PNG under the same names"

_ONE = "save the picture that shows the lesion as a file of its own under the same name"


def refuse_several(are_several: bool) -> None:
    """Refuse a file of several pictures: which of them is meant nobody says.

    Raises:
        UnusableError: If there are several.
    """
    if are_several:
        raise UnusableError("it holds several pictures (pages, frames)", remedy=_ONE)


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Refuse a photograph by its size, before it is decoded.

    Raises:
        UnusableError: If it has more pixels.
    """
    if width * height > max_pixels:
        raise UnusableError(f"{width}x{height} pixels are more than data.max_pixels={max_pixels}", "too_large")


def lack_of(extra: str, package: str) -> UnusableError:
    """Return why a photograph cannot be read without an extra that is not installed, with the command that installs it.

    Args:
        extra: Its name, that of the format in small letters.
        package: What pip would have to install.
    """
    command = f"uv sync --extra {extra}"
    reason = f"{extra.upper()} is read by an extra that is not installed: {command}"
    return UnusableError(reason, remedy=f"{command}; where pip has installed Skinbit: pip install {package}")
