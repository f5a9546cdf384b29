"""What file names tell: which files are photographs, and what the others probably are."""

from pathlib import PurePosixPath

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp"),
    *(".heic", ".heif", ".dcm", ".dicom"),
)
"""Suffixes of photographs. The actual format is recognised by content."""

READ_SUFFIXES = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"

FORMATS = {
    ".avif": "AVIF",
    ".gif": "GIF",
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx"), "JPEG 2000"),
    ".jxl": "JPEG XL",
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2"), "a camera's raw format"),
    ".psd": "Photoshop",
    **dict.fromkeys((".pbm", ".pgm", ".pnm", ".ppm"), "Netpbm"),
}
"""Unsupported formats of photographs, by suffix."""

ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip")

TABLES_AND_TEXTS = (
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".parquet", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
    *(".txt", ".md", ".rst", ".log", ".htm", ".html", ".pdf", ".doc", ".docx", ".odt", ".rtf"),
    *(".py", ".ipynb", ".sh", ".ini", ".db", ".md5", ".sha256", ".dvc", ".gitattributes"),
)
"""Suffixes of files that are obviously not photographs."""


def suffix_of(name: str) -> str:
    """Return the last suffix of a file's name or path, in lower case."""
    return PurePosixPath(name).suffix.lower()


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, such as macOS's ``._a.jpg``."""
    return PurePosixPath(name).name.startswith(".")


def is_photograph(name: str) -> bool:
    """Whether a file is a supported photograph, by its name or path."""
    return suffix_of(name) in SUFFIXES and not is_hidden(name)


def without_suffix(name: str) -> str:
    """Return a file's name or path without its last suffix."""
    return name.removesuffix(PurePosixPath(name).suffix)


def without_formats(name: str) -> str:
    """Return a name or path without all photograph suffixes at its end: ``a`` for ``a.jpg.JPG`` or ``a.bmp``."""
    while suffix_of(name) in (*SUFFIXES, *FORMATS):
        name = without_suffix(name)
    return name
