"""Marks in every field and in the name of a file come out nowhere (file, answer, log, page); names of files do where
a visitor asks for them."""

from __future__ import annotations

import gzip
import io
import json
import logging
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

pytest.importorskip("playwright.sync_api")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from brain_mri.imaging.volume import read_volume
from brain_mri.ui.common import label_of
from dev import screenshots
from tests.helpers.files import dicom, make_volume, saved

TAG, NAME, NUMBER = "TAGMARK", "NAMEMARK", 7654.321
DIGITS = "7654321"
TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UR", "CS", "AS"}
# What says how the pixels are to be read, and the one tag that may be shown
NEEDED = {"SpecificCharacterSet", "PhotometricInterpretation", "Modality", "ImageType", "LossyImageCompression"}


def fill(dataset: Dataset) -> Dataset:
    """A mark in every tag of the standard that holds text, numbers or identifiers and does not say where pixels lie."""
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if keyword in NEEDED or not keyword or tag >> 16 in (0x0002, 0x0028, 0x7FE0, 0x0000) or keyword in dataset:
            continue
        if kind in TEXTS:
            dataset.add_new(tag, kind, TAG)
        elif kind == "UI" and keyword not in ("SOPClassUID", "SeriesInstanceUID"):
            dataset.add_new(tag, kind, f"1.2.{DIGITS}")
        elif keyword in ("SeriesNumber", "AcquisitionNumber", "ReferencedFrameNumber"):
            dataset.add_new(tag, kind, DIGITS)
    private = dataset.private_block(0x0019, TAG, create=True)
    private.add_new(1, "LO", TAG)
    return dataset


def marked_dicom(pixels: np.ndarray, at: float = 0.0, **tags: Any) -> bytes:
    place: dict[str, Any] = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, at]}
    place["PixelSpacing"] = [1, 1]
    dataset = fill(dicom(pixels, **place, SeriesInstanceUID="1.2.3", **tags))
    dataset.SeriesDescription = f"T1 {TAG} +C"
    return saved(dataset)


def marked_nifti(voxels: np.ndarray, spacing: tuple[float, float, float]) -> bytes:
    """A mark in every field that does not say where voxels lie, and behind the header."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    for key in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        header[key] = TAG
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([*spacing[::-1], 1]), header)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", TAG.encode()))
    image.header.set_qform(None, 0)
    data = bytearray(image.to_bytes())
    for at in (56, 60, 64, 96, 100, 104, 136, 256, 260, 264, 268, 272, 276):  # intent, pixdim 5-7, toffset, quaternion
        struct.pack_into("<f", data, at, NUMBER)
    return bytes(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A slice, a volume, an archive with a series and two volumes, a broken file; all of them with marked names."""
    folder = tmp_path_factory.mktemp("marked")
    voxels, _, spacing = make_volume("meningioma", 9, depth=5, size=64)
    found = {"slice": folder / f"{NAME}_1.dcm", "volume": folder / f"{NAME}_2.nii", "study": folder / f"{NAME}_3.zip"}
    found |= {
        "broken": folder / f"{NAME}_4.dcm",
        "empty": folder / f"{NAME}_5.png",
        "foreign": folder / f"{NAME}_6.dcm",
    }
    found["slice"].write_bytes(marked_dicom(voxels[2]))
    found["volume"].write_bytes(marked_nifti(voxels, spacing))
    with zipfile.ZipFile(found["study"], "w") as archive:
        for i, picture in enumerate(voxels):
            archive.writestr(f"{NAME}/{NAME}_{i}.dcm", marked_dicom(picture, 5.0 * i))
        for kind in ("flair", "t1ce"):
            archive.writestr(f"{NAME}/{NAME}_{kind}.nii", marked_nifti(voxels, spacing))
        archive.writestr(f"{NAME}/{NAME}.txt.dcm", b"DICM of no kind" * 20)
        archive.writestr(f"{NAME}/{NAME}.png", b"\x89PNG of no kind")
    found["broken"].write_bytes(marked_dicom(voxels[2])[:-900])
    found["empty"].write_bytes(b"")
    foreign = pydicom.dcmread(found["slice"])
    foreign.Modality = foreign.PhotometricInterpretation = TAG
    foreign.save_as(found["foreign"])
    return found


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def contents(data: bytes) -> Iterator[bytes]:
    """The data, and what is in it when it is an archive or compressed."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from contents(archive.read(name))


def everything(answer: Any) -> bytes:
    """All that was answered: JSON, names of files, contents of files."""
    parts = [json.dumps(answer).encode()]
    for value in answer if isinstance(answer, (list, tuple)) else [answer]:
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and Path(path).is_file():
                parts += [Path(path).name.encode(), *contents(Path(path).read_bytes())]
    return b"\n".join(parts)


def clean(said: bytes, *marks: str) -> None:
    for mark in marks:
        assert mark.lower().encode() not in said.lower(), said[
            max(0, said.lower().find(mark.lower().encode()) - 200) :
        ][:300]
    assert struct.pack("<f", NUMBER) not in said and DIGITS.encode() not in said and str(NUMBER).encode() not in said


CALLS = [
    ("/analyze", "slice"), ("/segment", "slice"), ("/heatmap", "slice"), ("/report", "slice"), ("/report", "volume"),
    ("/report", "foreign"), ("/volume", "volume"), ("/volume", "study"), ("/volume", "slice"), ("/batch", "all"),
    ("/analyze", "broken"), ("/analyze", "empty"), ("/volume", "broken"), ("/volume", "empty"), ("/analyze", "foreign"),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "which"), CALLS)
def test_marks_come_out_nowhere(
    client: Client,
    files: dict[str, Path],
    endpoint: str,
    which: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given: Any = [handle_file(path) for path in files.values()] if which == "all" else handle_file(files[which])
    given = [given] if endpoint == "/volume" else given
    with caplog.at_level(logging.DEBUG, "brain_mri"):
        try:
            said = everything(client.predict(given, api_name=endpoint))
        except AppError as error:
            assert which in ("broken", "empty", "foreign")
            said = str(error).encode()
    clean(said, TAG, NAME)
    logs = [record.getMessage() for record in caplog.records if record.name.startswith("brain_mri")]
    clean("\n".join([*logs, *capfd.readouterr()]).encode(), TAG, NAME)


@pytest.mark.parametrize(("endpoint", "which"), [("/report", "slice"), ("/volume", "study"), ("/batch", "volume")])
def test_names_come_out_where_they_are_asked_for(
    client: Client, files: dict[str, Path], endpoint: str, which: str
) -> None:
    given: Any = handle_file(files[which]) if endpoint == "/report" else [handle_file(files[which])]
    said = everything(client.predict(given, names=True, api_name=endpoint))
    assert NAME.encode() in said
    clean(said, TAG)


def test_a_download_is_named_by_content(client: Client, files: dict[str, Path]) -> None:
    found, paths = client.predict([handle_file(files["volume"])], api_name="/volume")
    label = label_of(files["volume"])
    assert {Path(path).name for path in paths} == {
        f"{label}_{end}" for end in ("mask.nii.gz", "slices.csv", "volume.json")
    }
    assert found["name"] == label


def test_the_mask_lies_where_the_volume_lies(files: dict[str, Path], tmp_path: Path) -> None:
    """Clean, and yet the same geometry."""
    volume = read_volume(files["volume"])
    path = volume.save_mask(np.ones(volume.shape, bool), tmp_path / "mask.nii.gz")
    clean(gzip.decompress(path.read_bytes()), TAG)
    mask, scan = (nib.Nifti1Image.from_filename(file) for file in (path, files["volume"]))
    assert mask.affine is not None and scan.affine is not None and np.array_equal(mask.affine, scan.affine)
    assert mask.shape == scan.shape and not mask.header.extensions


def test_series_are_told_apart_without_their_descriptions(files: dict[str, Path]) -> None:
    titles = [choice.title for choice in read_volume(files["study"], name="x", named=False).choices]
    assert titles == ["volume 1: FLAIR", "volume 2: T1 with contrast medium", "T1 with contrast medium"]
    clean("".join(c.title for c in read_volume(files["study"]).choices).encode(), TAG)


@pytest.mark.slow
@pytest.mark.skipif(not Path(screenshots.CHROMIUM).exists(), reason="Chromium is not installed")
@pytest.mark.parametrize("asked", [False, True])
def test_the_page_tells_the_visitor_names_but_no_tags(
    chromium: Browser, url: str, files: dict[str, Path], tmp_path: Path, asked: bool
) -> None:
    page = screenshots.open_page(chromium, url, "light")
    page.set_default_timeout(60_000)
    seen = []

    def download(box: str) -> bytes:
        links = page.locator(f"{box} a[download]")
        links.first.wait_for()
        parts = []
        for link in links.all():
            with page.expect_download() as found:
                link.click()
            parts += [found.value.suggested_filename.encode(), *contents(Path(found.value.path()).read_bytes())]
        return b"\n".join(parts)

    page.set_input_files("#scan-file input[type=file]", files["slice"])
    page.locator("#finding .detail", has_text=files["slice"].name).wait_for()  # the visitor's own screen
    page.locator("#panel-heat img.zoom").wait_for()
    screenshots.tab(page, "Report")
    if asked:
        page.locator("#scan-names input").check()
    page.locator("#make-report").click()
    got = [download("#report-files")]
    seen.append(page.content())
    screenshots.tab(page, "Volume")
    if asked:
        page.locator("#volume-names input").check()
    page.set_input_files("#volume-file input[type=file]", files["study"])
    page.locator("#volume-finding .detail", has_text=files["study"].name).wait_for()
    page.locator("#volume-make").click()
    got.append(download("#volume-downloads"))
    seen.append(page.content())
    screenshots.tab(page, "Batch")
    if asked:
        page.locator("#batch-names input").check()
    page.set_input_files("#batch-file input[type=file]", [files["slice"], files["empty"]])
    rows = page.locator("#batch-table tbody tr")
    rows.nth(1).wait_for()
    assert [files[which].name in rows.nth(i).inner_text() for i, which in enumerate(("slice", "empty"))] == [True, True]
    got.append(download("#batch-downloads"))
    seen.append(page.content())
    page.close()
    clean("".join(seen).encode(), TAG)
    for files_of_a_tab in got:
        assert (NAME.encode() in files_of_a_tab) == asked
        clean(files_of_a_tab, TAG)
