"""What to read of many inputs: names that are safe, the DICOM files of a series together."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brain_mri.imaging.scan import MAX_SLICES
from brain_mri.inference import jobs
from brain_mri.inference.jobs import find, named, stem_of
from tests.helpers.files import dicom, encode, metaimage, nifti, saved, series, zipped


def test_names_are_unique_and_harmless() -> None:
    paths = [Path(p) for p in ("a/x.png", "b/X.PNG", "x.nii.gz", "x-2.png", "we:ird*.png", "....png", ".png")]
    names = [job.name for job in named(paths)]
    assert len({name.casefold() for name in names}) == len(names)
    assert names[0] == "x" and all("/" not in n and ":" not in n and "*" not in n and n.strip(". ") for n in names)


@pytest.mark.parametrize("apart", [True, False])
def test_the_halves_of_a_pair_are_one_job(tmp_path: Path, apart: bool) -> None:
    names = ["a.hdr", "a.img", "b.HDR.gz", "b.img.gz", "c.png", "d.img"]
    paths = [tmp_path / name for name in names]
    header = nib.Nifti1Pair(np.zeros((8, 8, 4), np.int16), np.eye(4)).header.binaryblock
    for path in paths:
        content = header if ".hdr" in path.name.lower() else b"nothing"
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
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


STACK = np.random.default_rng(0).integers(0, 255, (4, 32, 32), np.uint8)


def test_the_files_of_a_series_are_one_job(tmp_path: Path) -> None:
    """Of one folder; other files, and DICOM files without a series, stand alone."""
    for name, stack in (("one/a", STACK), ("two/b", STACK), ("two/c", STACK[:3])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for i, data in enumerate(series(stack)):
            packed = gzip.compress(data) if name == "two/c" else data
            (tmp_path / f"{name}{i}.dcm{'.gz' if name == 'two/c' else ''}").write_bytes(packed)
    for i in range(2):
        (tmp_path / f"one/alone{i}.dcm").write_bytes(saved(dicom(STACK[0])))
    (tmp_path / "one/broken.dcm").write_bytes(saved(dicom(STACK[0]))[:200])
    jobs = list(named(find([str(tmp_path)], tmp_path / "out")))
    said = [(Path(job.file).relative_to(tmp_path).as_posix(), len(job.paths), job.name) for job in jobs]
    assert said == [
        ("one", 4, "one"), ("one/alone0.dcm", 1, "alone0"), ("one/alone1.dcm", 1, "alone1"),
        ("one/broken.dcm", 1, "broken"), ("two/b0.dcm and 3 more", 4, "b0"), ("two/c0.dcm.gz and 2 more", 3, "c0"),
    ]  # fmt: skip


def test_uploads_of_a_series_are_one_job_wherever_the_server_keeps_them(tmp_path: Path) -> None:
    paths = []
    for i, data in enumerate(series(STACK)):
        (tmp_path / f"hash{i}").mkdir()
        paths.append(tmp_path / f"hash{i}" / f"{i}.dcm")
        paths[-1].write_bytes(data)
    (job,) = named(paths, lambda path: path.name, apart=False)
    assert job.paths == tuple(paths) and job.file == "0.dcm and 3 more" and job.name == "0"
    assert len(list(named([*paths[:1], *paths[:1]], apart=False))) == 1  # the same file twice is no second slice


def test_a_stamp_changes_with_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"1")
    (job,) = named([path])
    before = job.stamp()
    path.write_bytes(b"22")
    assert before and job.stamp() not in ("", before)
    path.unlink()
    assert job.stamp() == ""


def test_the_halves_of_a_volume_are_one_job(tmp_path: Path) -> None:
    """A header and the file that holds its voxels, whatever its suffix; a half without the other stands alone."""
    pair = nib.Nifti1Pair(np.zeros((8, 8, 4), np.int16), np.eye(4))
    for name in ("a", "b"):
        nib.save(pair, tmp_path / f"{name}.img")
    (tmp_path / "b.img").unlink()
    header = b"ObjectType = Image\nNDims = 3\nDimSize = 8 8 4\nElementType = MET_SHORT\nElementDataFile = c.raw\n"
    (tmp_path / "c.mhd").write_bytes(header)
    (tmp_path / "c.raw").write_bytes(bytes(512))
    jobs = list(named(find([str(tmp_path)], tmp_path / "out")))
    assert [[path.name for path in job.paths] for job in jobs] == [["a.hdr", "a.img"], ["b.hdr"], ["c.mhd", "c.raw"]]
    uploads = []
    for name in ("a.img", "a.hdr"):
        (tmp_path / f"hash-{name}").mkdir()
        uploads.append((tmp_path / name).rename(tmp_path / f"hash-{name}" / name))
    assert [job.paths for job in named(uploads, apart=False)] == [tuple(uploads[::-1])]


def test_slices_are_counted_from_first_bytes(tmp_path: Path) -> None:
    """Of what holds more than may be analysed: 1, for it is refused at once; of what would have to be opened: many."""
    stack = np.zeros((30, 40, 36), np.uint8)
    frames = [np.zeros((40, 36), np.uint8)] * 7
    content = {
        "a.nii": nifti(stack),
        "a.nii.gz": gzip.compress(nifti(stack)),
        "a.mha": metaimage(stack),
        "a.dcm": saved(dicom(np.stack(frames))),
        "a.png": encode(Image.fromarray(frames[0]), "PNG"),
        "a.tif": encode(
            Image.fromarray(frames[0]), "TIFF", save_all=True, append_images=[Image.fromarray(frames[1])] * 4
        ),
        "letter.txt": b"dear doctor",
        "empty": b"",
        "a.zip": zipped({"a.nii": nifti(stack)}),
        "large.zip": zipped({"a.nii": b""}) + bytes(300 * jobs.PACKED[1]),
        "huge.nii": nifti(np.zeros((MAX_SLICES + 1, 8, 9), np.uint8)),
    }
    counts = {
        "a.nii": 30,
        "a.nii.gz": 30,
        "a.mha": 30,
        "a.dcm": 7,
        "a.tif": jobs.PACKED[0],
        "a.zip": jobs.PACKED[0],
        "large.zip": 300,
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
        assert jobs.slices_of([tmp_path / name]) == counts.get(name, 1), name
    assert jobs.slices_of([tmp_path / "a.dcm"] * 3) == 21
    assert jobs.slices_of([tmp_path / "missing.nii"]) == jobs.slices_of([]) == jobs.slices_of([tmp_path]) == 1


def test_no_file_hides_how_many_slices_it_holds(tmp_path: Path) -> None:
    """Two that count as short would take the places of all short ones."""
    stack = np.zeros((300, 32, 32), np.uint8)
    said = b"\x28\x00\x08\x00IS\x02\x001 "  # what a careless search would take for the number of frames
    for before, counted in ((bytes(8000), 300), (said, 300), (bytes(jobs.TAGS), jobs.PACKED[0])):
        made = dicom(stack)
        made.private_block(0x0009, "X", create=True).add_new(1, "OB", before)
        (tmp_path / "late.dcm").write_bytes(saved(made))
        assert jobs.slices_of([tmp_path / "late.dcm"]) == counted
    head = b"NRRD0004\n" + b"# comment\n" * 1000 + b"type: uchar\ndimension: 3\nsizes: 32 32 300\nencoding: raw\n\n"
    (tmp_path / "late.nrrd").write_bytes(head + stack.tobytes())
    assert jobs.slices_of([tmp_path / "late.nrrd"]) == jobs.PACKED[0]
