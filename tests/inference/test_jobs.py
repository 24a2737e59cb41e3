"""What to read of many inputs: names that are safe, the DICOM files of a series together."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_mri.inference.jobs import named, stem_of


def test_names_are_unique_and_harmless() -> None:
    paths = [Path(p) for p in ("a/x.png", "b/X.PNG", "x.nii.gz", "x-2.png", "we:ird*.png", "....png", ".png")]
    names = [job.name for job in named(paths)]
    assert len({name.casefold() for name in names}) == len(names)
    assert names[0] == "x" and all("/" not in n and ":" not in n and "*" not in n and n.strip(". ") for n in names)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a b.nii.gz", "a_b"), ("../../etc/passwd", "etc_passwd"), ("ö.png", "scan"), ("x.tar.dcm", "x.tar")],
)
def test_stems_are_safe_file_names(name: str, stem: str) -> None:
    assert stem_of(name) == stem
