"""MetaImage, NRRD, MGZ and header pairs: voxels and geometry as they were written; no header leads to another file."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brain_mri.imaging import scan as scan_types
from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import is_stack, read_volume
from tests.helpers.files import SPACING, load, metaimage, mgh, nifti, nrrd, sentence, zipped

RAS = np.array([[-SPACING[2], 0, 0, 20], [0, -SPACING[1], 0, 25], [0, 0, SPACING[0], -30], [0, 0, 0, 1]])


def check(data: bytes, stack: np.ndarray, tmp_path: Path, kind: str) -> None:
    """Voxels, spacing, one slice, and the exported mask on the voxels of the input."""
    volume = read_volume(data, name="x")
    assert np.array_equal(volume.voxels, stack) and volume.plane == "axial" and volume.info["format"] == kind
    assert volume.spacing == pytest.approx(SPACING) and volume.warnings == ()
    assert is_volume(data) and is_stack(data)
    scan = read_scan(data, index=3)
    assert np.array_equal(scan.raw, stack[3]) and scan.spacing == pytest.approx(SPACING[1:])
    own = load(volume.save_mask(stack > 150, tmp_path / "m.nii"))
    assert np.allclose(own.affine, RAS, atol=1e-5)
    assert np.array_equal(np.asarray(own.dataobj), (stack > 150).transpose(2, 1, 0))
    assert np.array_equal(read_volume(zipped({"a/b": data})).voxels, stack)


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4", ">f4"])
def test_types_and_byte_orders(stack: np.ndarray, dtype: str, tmp_path: Path) -> None:
    values = stack.astype(dtype)
    check(metaimage(values), values, tmp_path, "MetaImage")
    check(metaimage(values, packed=True), values, tmp_path, "MetaImage")
    check(nrrd(values), values, tmp_path, "NRRD")
    check(nrrd(values, encoding="gzip"), values, tmp_path, "NRRD")
    if dtype[0] != "<":
        check(mgh(values), values, tmp_path, "MGH")
        check(gzip.compress(mgh(values)), values, tmp_path, "MGH")


def test_directions(stack: np.ndarray, tmp_path: Path) -> None:
    """Where the voxel (1, 2, 3) lies, by hand: origin + the three steps, in LPS, then in RAS."""
    turn, origin = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]]), np.array([7.0, -5, 3])  # a row for each axis
    point = origin + 1 * SPACING[2] * turn[0] + 2 * SPACING[1] * turn[1] + 3 * SPACING[0] * turn[2]
    steps = turn * np.array([[SPACING[2]], [SPACING[1]], [SPACING[0]]])
    vectors = " ".join(f"({a},{b},{c})" for a, b, c in steps)
    mirrored = " ".join(f"({-a},{-b},{c})" for a, b, c in steps)  # the same in RAS
    numbers = " ".join(str(v) for v in turn.ravel())
    for data in (
        metaimage(stack, TransformMatrix=numbers, Offset="7 -5 3"),
        nrrd(stack, space_directions=vectors, space_origin="(7,-5,3)"),
        nrrd(stack, space="RAS", space_directions=mirrored, space_origin="(-7,5,3)"),
    ):
        volume = read_volume(data)
        assert np.allclose(volume.grid.affine @ [1, 2, 3, 1], [-point[0], -point[1], point[2], 1], atol=1e-4)
        assert volume.voxel_mm3 == pytest.approx(np.prod(SPACING), rel=1e-5)


def test_without_directions_it_is_said(stack: np.ndarray) -> None:
    bare = nrrd(stack, space="", space_directions="none none none", spacings="1.25 1.5 6")
    bare = (
        bare.replace(b"space: \n", b"")
        .replace(b"space directions: none none none\n", b"")
        .replace(b"space origin: (-20,-25,-30)\n", b"")
    )
    for data in (metaimage(stack, TransformMatrix=""), bare):
        volume = read_volume(data)
        assert volume.shape == stack.shape and any("orientation" in w for w in volume.warnings)
        assert volume.spacing == pytest.approx(SPACING)


def test_colours_and_vectors_show_their_first_value(stack: np.ndarray) -> None:
    three = np.stack([stack, stack // 2, stack // 3], -1)
    assert np.array_equal(read_volume(metaimage(three, ElementNumberOfChannels=3, DimSize="36 40 7")).voxels, stack)
    vectors = f"none ({SPACING[2]},0,0) (0,{SPACING[1]},0) (0,0,{SPACING[0]})"
    assert np.array_equal(read_volume(nrrd(three, space_directions=vectors)).voxels, stack)


def test_headers_with_their_file(stack: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "v.raw").write_bytes(stack.tobytes())
    (tmp_path / "v.raw.gz").write_bytes(gzip.compress(stack.tobytes()))
    secret = tmp_path / "secret.raw"
    secret.write_bytes(stack.tobytes())
    for header, file in ((metaimage, "v.raw"), (nrrd, "v.raw")):
        name = "v.mhd" if header is metaimage else "v.nhdr"
        path = tmp_path / name
        path.write_bytes(header(stack, file))
        assert np.array_equal(read_volume([tmp_path / file, path]).voxels, stack)
        assert np.array_equal(
            read_volume(zipped({f"a/{name}": path.read_bytes(), "a/v.raw": stack.tobytes()})).voxels, stack
        )
        with pytest.raises(ScanError, match=r"choose it together with v\.raw"):
            read_volume(path)
        for elsewhere in (str(secret), "../secret.raw", "file:///etc/passwd", "LIST", "v%03d.raw 1 3 1"):
            path.write_bytes(header(stack, elsewhere))
            with pytest.raises(ScanError, match="together with") as error:
                read_volume(path)
            sentence(error)
            with pytest.raises(ScanError, match="together with"):
                read_scan(path)


@pytest.mark.parametrize("order", "<>")
def test_nifti_pairs_and_analyze(stack: np.ndarray, order: str, tmp_path: Path) -> None:
    given = nib.Nifti1Image.from_bytes(nifti(stack, "RAS"))
    values = np.asarray(given.dataobj).astype(np.int16)
    pair = nib.Nifti1Pair(values, given.affine, nib.nifti1.Nifti1PairHeader(endianness=order))
    old = nib.AnalyzeImage(values, given.affine, nib.AnalyzeHeader(endianness=order))
    for i, image in enumerate((pair, old)):
        image.header.set_data_dtype(np.dtype(f"{order}i2"))
        folder = tmp_path / f"{i}"
        folder.mkdir()
        image.to_filename(folder / "a.img")
        (folder / "b.img").write_bytes(bytes(50))
        half = (folder / "a.hdr").read_bytes()
        volume = read_volume([folder / "a.img", folder / "a.hdr"])
        assert volume.choice == "a.hdr" and volume.shape == stack.shape
        if image is pair:
            assert np.array_equal(volume.voxels, stack) and np.allclose(volume.grid.affine, given.affine)
        else:
            assert any("orientation" in w for w in volume.warnings)
            assert np.array_equal(volume.grid.voxels, values)
        packed = {"s/A.HDR": half, "s/A.IMG.gz": gzip.compress((folder / "a.img").read_bytes())}
        assert np.array_equal(read_volume(zipped(packed)).voxels, volume.voxels)
        with pytest.raises(ScanError, match="pair"):
            read_volume(folder / "a.hdr")
        with pytest.raises(ScanError, match="choose its header"):
            read_volume(folder / "b.img")


def test_damage_is_a_sentence(stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (
        metaimage(stack),
        nrrd(stack),
        mgh(stack),
        metaimage(stack, packed=True),
        nrrd(stack, encoding="gzip"),
    ):
        with pytest.raises(ScanError, match="incomplete"):
            read_volume(data[:-200] if b"ompressedData = True" not in data and b"gzip" not in data else data[:-9])
    for data in (
        metaimage(stack, DimSize="36 40 900"),
        metaimage(stack, DimSize="99999 99999 99999"),
        metaimage(stack, DimSize="-36 40 7"),
        metaimage(stack, DimSize="many"),
        metaimage(stack, ElementType="MET_STRING"),
        metaimage(stack, TransformMatrix="nan 0 0 0 1 0 0 0 1", DimSize="36 40 8"),
        nrrd(stack, sizes="36 40 99999"),
        nrrd(stack, encoding="hex"),
        nrrd(stack, type="block"),
        nrrd(stack, line_skip="3"),
        b"NRRD0004\n",
        b"NDims = 3\nDimSize = 1 1 1\n",
    ):
        for reader in (read_volume, read_scan):
            with pytest.raises(ScanError) as error:
                reader(data, name="x.mha")  # type: ignore[operator]
            assert "x.mha" in sentence(error)
    monkeypatch.setattr(scan_types.inflate, "__kwdefaults__", {"wbits": 31, "limit": 1_000_000})
    with monkeypatch.context() as patch, pytest.raises(ScanError, match="more memory"):
        patch.setattr("brain_mri.imaging.volume_formats._nifti_header", lambda _: bytearray(2**62))
        read_volume(metaimage(stack))
    zeros = np.zeros((20, 300, 300), np.uint8)
    for bomb in (metaimage(zeros, packed=True), nrrd(zeros, encoding="gzip")):
        assert len(bomb) < 5000
        with pytest.raises(ScanError, match="unpacks to more than"):
            read_volume(bomb)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".mhd"])
def test_as_simpleitk_writes_and_reads_them(stack: np.ndarray, suffix: str, tmp_path: Path) -> None:
    itk: Any = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(stack.astype(np.int16))
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((7.0, -5.0, 3.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    path = tmp_path / f"v{suffix}"
    itk.WriteImage(image, str(path), useCompression=suffix != ".mhd")
    volume = read_volume([path, path.with_suffix(".raw")] if suffix == ".mhd" else path)
    x, y, z = image.TransformIndexToPhysicalPoint((3, 4, 5))
    assert np.allclose(volume.grid.affine @ [3, 4, 5, 1], [-x, -y, z, 1], atol=1e-4)
    assert np.array_equal(volume.grid.voxels, stack.transpose(2, 1, 0))


def test_nrrd_as_pynrrd_writes_it(stack: np.ndarray) -> None:
    pynrrd: Any = pytest.importorskip("nrrd")
    stream = io.BytesIO()
    header = {"space": "RAS", "space directions": RAS[:3, :3].T, "space origin": RAS[:3, 3]}
    pynrrd.write(stream, stack.transpose(2, 1, 0), header)
    volume = read_volume(stream.getvalue())
    assert np.array_equal(volume.voxels, stack) and np.allclose(volume.grid.affine, RAS, atol=1e-5)


def test_case_other_formats(cases: Path) -> None:
    """Five ways to write one phantom: equal voxels and equal places of the first and the last voxel."""
    folder = cases / "other-formats"
    pair = [folder / "pair.img", folder / "pair.hdr"]
    given = nib.load(folder / "pair.hdr")
    assert isinstance(given, nib.Nifti1Pair)
    for source in (folder / "v.mha", folder / "v.nrrd", pair):
        volume = read_volume(source)
        assert volume.shape == (12, 96, 96) and np.array_equal(volume.grid.voxels, np.asarray(given.dataobj))
        assert np.allclose(volume.grid.affine, given.affine, atol=1e-4) and volume.warnings == ()
    series = read_volume(folder / "dcm_gz.zip")
    assert series.shape == (12, 96, 96) and series.spacing == pytest.approx((120 / 11, 230 / 96, 230 / 96))
    assert read_volume(folder / "one.dcm.gz").shape == (1, 96, 96) == (1, *read_scan(folder / "one.dcm.gz").shape)
