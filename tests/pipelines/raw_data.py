"""Folders of synthetic photographs, as a user has them."""

from pathlib import Path

from skinbit.data.synthetic import make_photographs


def write_photographs(folder: Path, n_lesions: int, seed: int, width: int, height: int) -> None:
    """Write data.csv and images/, sorted by image, as `sample_data` would."""
    (folder / "images").mkdir()
    lines = ["lesion_id,image_id,anatom_site_general,dx"]
    for photograph in sorted(make_photographs(n_lesions, seed, width, height), key=lambda each: each.image_id):
        (folder / "images" / f"{photograph.image_id}.jpg").write_bytes(photograph.jpeg)
        lines.append(f"{photograph.lesion_id},{photograph.image_id},{photograph.anatom_site_general},{photograph.dx}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
