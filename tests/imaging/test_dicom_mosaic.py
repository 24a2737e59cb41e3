"""Siemens mosaics come out as slices, where nibabel's own reader of them puts them, or are refused by name."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from tests.helpers.files import dicom, load, saved, sentence, zipped


def csa(**entries: list[str]) -> bytes:
    """A CSA2 header with these entries, as Siemens scanners write it."""
    data = b"SV10\4\3\2\1" + struct.pack("<2I", len(entries), 77)
    for name, values in entries.items():
        kind = {"SliceNormalVector": b"FD", "AcquisitionMatrixText": b"SH"}.get(name, b"IS")
        data += struct.pack("<64si4s3i", name.encode(), len(values), kind, 6, len(values), 77)
        for value in values:
            text = value.encode() + b"\0"
            data += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + bytes(-len(text) % 4)
    return data


def mosaic(stack: np.ndarray, *, normal: list[str] | None = None, csa_count: bool = True, **tags: Any) -> Any:
    """Slices tiled in one picture, the first at the upper left, with the headers of a Siemens scanner."""
    count, height, width = stack.shape
    side = int(np.ceil(np.sqrt(count)))
    tiled = np.zeros((side * height, side * width), stack.dtype)
    for i, values in enumerate(stack):
        y, x = divmod(i, side)
        tiled[y * height : (y + 1) * height, x * width : (x + 1) * width] = values
    geometry: dict[str, Any] = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "ImageOrientationPatient": [1, 0, 0, 0, 0.96, 0.28],
        "ImagePositionPatient": [-90, -100, -40],
        "PixelSpacing": [3, 2],
        "SpacingBetweenSlices": 4,
        "AcquisitionMatrix": [width, 0, 0, height],
    }
    dataset = dicom(tiled, **(geometry | tags))
    entries = {"NumberOfImagesInMosaic": [str(count)]} if csa_count else {"EchoLinePosition": ["3"]}
    entries |= {} if normal is None else {"SliceNormalVector": normal, "AcquisitionMatrixText": ["40*36"]}
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa(**entries))
    return dataset


def with_count(dataset: Any, vr: str, value: Any) -> Any:
    """NumberOfImagesInMosaic in the private header of newer scanners."""
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, vr, value)
    return dataset


@pytest.mark.parametrize("normal", [["0.0", "-0.28", "0.96"], ["0.0", "0.28", "-0.96"]])
def test_slices_lie_where_nibabel_puts_them(stack: np.ndarray, normal: list[str], tmp_path: Path) -> None:
    data = saved(mosaic(stack, normal=normal))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import wrapper_from_data
    told = wrapper_from_data(pydicom.dcmread(BytesIO(data)))
    assert told.is_mosaic and told.image_shape == (40, 36, 7)

    volume = read_volume(data, name="ep2d.dcm")
    upwards = normal[2] == "0.96"
    assert np.array_equal(volume.voxels, stack if upwards else stack[::-1])
    assert volume.warnings == () and volume.spacing == pytest.approx((4, 3, 2))
    assert volume.voxel_mm3 == pytest.approx(24)
    own = load(volume.save_mask(np.asarray(volume.voxels > 150), tmp_path / "m.nii"))
    marked = np.asarray(told.get_data()) > 150  # (row, column, slice), in LPS
    ours = np.argwhere(np.asarray(own.dataobj) > 0) @ own.affine[:3, :3].T + own.affine[:3, 3]
    theirs = np.argwhere(marked) @ told.affine[:3, :3].T + told.affine[:3, 3]
    theirs *= [-1, -1, 1]
    assert np.allclose(sorted(ours.round(3).tolist()), sorted(theirs.round(3).tolist()), atol=2e-3)


def test_one_tile_is_shown_as_a_slice(stack: np.ndarray) -> None:
    data = saved(mosaic(stack, normal=["0", "-0.28", "0.96"]))
    scan = read_scan(data, name="m.dcm")
    assert np.array_equal(scan.image, stack[3]) and scan.info["slices"] == 7 and scan.info["index"] == 3
    assert any("slice 4 of 7" in w for w in scan.warnings)
    assert np.array_equal(read_scan(data, index=6).image, stack[6])


@pytest.mark.parametrize("vr, value", [("US", 7), ("UN", b"\7\0"), ("IS", "7")])
def test_the_count_of_the_private_header(stack: np.ndarray, vr: str, value: Any) -> None:
    dataset = with_count(mosaic(stack, csa_count=False), vr, value)
    volume = read_volume(saved(dataset))
    assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx((4, 3, 2))
    assert any("where its slices lie" in w for w in volume.warnings)  # without the CSA header's normal


def test_compressed_and_repeated_mosaics(stack: np.ndarray) -> None:
    dataset = mosaic(stack, normal=["0", "-0.28", "0.96"], SeriesInstanceUID="1.2")
    dataset.compress(RLELossless)
    packed = saved(dataset)
    assert np.array_equal(read_volume(packed).voxels, stack)
    later = saved(mosaic(stack // 2, normal=["0", "-0.28", "0.96"], SeriesInstanceUID="1.2", InstanceNumber=9))
    volume = read_volume(zipped({"a": later, "b": packed}))  # a series over time: its first picture
    assert np.array_equal(volume.voxels, stack) and any("same place" in w for w in volume.warnings)


def test_a_mosaic_that_cannot_be_told_apart_is_refused_by_name(stack: np.ndarray) -> None:
    for bad in (
        mosaic(stack, csa_count=False),
        with_count(mosaic(stack, csa_count=False), "US", 17),  # five tiles a side: no whole pixels
        with_count(mosaic(stack, csa_count=False), "US", 60000),
        with_count(mosaic(stack[:, :24, :24], csa_count=False), "US", 144),  # 12 tiles a side, of 6 x 6 pixels
    ):
        for read in (read_volume, read_scan):
            with pytest.raises(ScanError, match="Siemens mosaic") as error:
                read(saved(bad), name="ep2d.dcm")
            assert "ep2d.dcm" in sentence(error)
    damaged = mosaic(stack)
    damaged[0x0029, 0x1010].value = damaged[0x0029, 0x1010].value[:100]
    with pytest.raises(ScanError, match="Siemens mosaic"):
        read_volume(saved(damaged))


def test_a_slice_that_was_cut_out_of_a_mosaic_is_a_slice(stack: np.ndarray) -> None:
    """Programs that split mosaics leave the headers as they are."""
    dataset = mosaic(stack[:1], AcquisitionMatrix=[36, 0, 0, 40])
    assert np.array_equal(read_scan(saved(dataset)).image, stack[0])
    assert not is_volume(saved(dataset))
