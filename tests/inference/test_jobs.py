"""What to read of many inputs: names that are safe, the DICOM files of a series together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_mri.inference.jobs import named, stem_of
from tests.helpers.files import series


def test_names_are_unique_and_harmless() -> None:
    paths = [Path(p) for p in ("a/x.png", "b/X.PNG", "x.nii.gz", "x-2.png", "we:ird*.png", "....png", ".png")]
    names = [job.name for job in named(paths)]
    assert len({name.casefold() for name in names}) == len(names)
    assert names[0] == "x" and all("/" not in n and ":" not in n and "*" not in n and n.strip(". ") for n in names)


@pytest.mark.parametrize("apart", [True, False])
def test_the_halves_of_a_pair_are_one_job(tmp_path: Path, apart: bool) -> None:
    names = ["a.hdr", "a.img", "b.HDR.gz", "b.img.gz", "c.png", "d.img"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(b"nothing")
    found = [([p.name for p in job.paths], job.name) for job in named(paths, lambda p: p.name, apart=apart)]
    assert found == [(["a.hdr", "a.img"], "a"), (["b.HDR.gz", "b.img.gz"], "b"), (["c.png"], "c"), (["d.img"], "d")]


def test_dicom_files_called_img_are_a_series(tmp_path: Path) -> None:
    for i, data in enumerate(series(np.zeros((3, 20, 20), np.uint8))):
        (tmp_path / f"I{i}.img").write_bytes(data)
    assert [len(job.paths) for job in named(sorted(tmp_path.iterdir()))] == [3]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a b.nii.gz", "a_b"), ("../../etc/passwd", "etc_passwd"), ("ö.png", "scan"), ("x.tar.dcm", "x.tar")],
)
def test_stems_are_safe_file_names(name: str, stem: str) -> None:
    assert stem_of(name) == stem
