"""Thousands of damaged, lying and hostile files: a valid scan or one sentence, in bounded time and memory.

python -m pytest -s tests/robustness/test_fuzz_readers.py   # about 4,000 cases, the same ones every time
FUZZ_CASES=100000 FUZZ_SECONDS=3600 FUZZ_SEED=7 python -m pytest tests/robustness/test_fuzz_readers.py   # a long search
"""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from PIL import Image

from brain_mri.imaging import scan as scan_types
from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.preprocessing import head_mask, preprocess, restore
from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.imaging.scan import MIN_SIDE, Scan, ScanError
from brain_mri.imaging.volume import Volume, read_volume
from tests.helpers.files import dicom, encode, saved
from tests.helpers.injured import FAMILIES, HEAD, STACK, mutate

CASES = int(os.environ.get("FUZZ_CASES", "2400"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "45"))  # of processor time, for all mutations together
SEED = int(os.environ.get("FUZZ_SEED", "20261120"))
LEAST = 2000  # cases of a whole run
ONE_CASE = 10.0  # seconds of processor time that no file may need
MEMORY = 900  # MB that the whole search may add to the process


def examples(count: int) -> settings:
    """Hypothesis with the same examples every time and no files left behind."""
    return settings(
        derandomize=True, deadline=None, database=None, max_examples=count, suppress_health_check=list(HealthCheck)
    )


READ: Counter[str] = Counter()  # how the cases so far went


@pytest.fixture(autouse=True, scope="module")
def bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small limits, as a small server would have them; a count of the cases; a watch on the memory of the process."""
    patch = pytest.MonkeyPatch()
    patch.setattr(scan_types.inflate, "__kwdefaults__", {"wbits": 31, "limit": 64 * 2**20})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    READ.clear()
    yield
    patch.undo()
    print(f"\n{READ.total()} files: {READ['read']} read, {READ['refused']} refused with a sentence")
    own = [item for item in request.session.items if item.path == request.path]
    whole = {item.name.split("[")[0] for item in own} >= {name for name in globals() if name.startswith("test_")}
    assert READ.total() >= LEAST or not whole or CASES < 2400
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEMORY, f"the search grew the process by {grown:.0f} MB"


def check_sentence(error: ScanError) -> None:
    text = str(error)
    assert text and "\n" not in text and text.isprintable() and text[-1] in ".)", repr(text)
    assert len(text) < 500 and "Traceback" not in text and "object at" not in text, repr(text)


def check_scan(scan: Scan) -> None:
    assert scan.image.dtype == np.uint8 and scan.image.ndim == 2 and min(scan.image.shape) >= MIN_SIDE
    assert scan.raw.shape == scan.image.shape and scan.raw.dtype in (np.uint8, np.uint16, np.int16, np.float32)
    assert np.isfinite(scan.raw).all() and 0 <= scan.color <= 1 and scan.name and "/" not in scan.name
    assert scan.spacing is None or (len(scan.spacing) == 2 and all(0 < s < 1000 for s in scan.spacing))
    assert all(w and "\n" not in w for w in scan.warnings)
    if scan.image.size < 1_000_000:
        square, frame = preprocess(scan.image, 32)
        assert square.shape == (32, 32) and restore(square.astype(np.float32), frame).shape == scan.image.shape


def check_volume(volume: Volume) -> None:
    assert volume.voxels.ndim == 3 and volume.voxels.size > 0 and np.isfinite(volume.limits).all()
    assert volume.voxels.dtype in (np.uint8, np.uint16, np.int16, np.float32)
    assert volume.spacing is None or all(0 < s < 1000 for s in volume.spacing)
    try:
        check_scan(volume.scan())
    except ScanError as error:
        check_sentence(error)


def check(data: bytes) -> str:
    """Read bytes in every way; returns how it went ("read", "refused")."""
    start = time.process_time()
    outcome = "refused"
    try:
        check_scan(read_scan(data, name="f"))
        outcome = "read"
    except ScanError as error:
        check_sentence(error)
    try:
        check_volume(read_volume(data, name="f"))
        outcome = "read"
    except ScanError as error:
        check_sentence(error)
    assert is_volume(data) in (True, False)
    assert time.process_time() - start < ONE_CASE
    READ[outcome] += 1
    return outcome


@pytest.mark.parametrize("family", FAMILIES)
def test_good_files_are_read(family: str) -> None:
    for data in FAMILIES[family]():
        assert check(data) == "read"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_mutated_files(family: str) -> None:
    files = FAMILIES[family]()
    others = files + [f()[0] for f in FAMILIES.values()]
    share = {"pictures": 0.45, "dicom": 0.3, "nifti": 0.15, "archives": 0.1}[family]
    start, done, outcomes = time.process_time(), 0, {"read": 0, "refused": 0}
    for case in range(int(CASES * share)):
        rng = random.Random(f"{SEED}-{family}-{case}")
        data = mutate(rng.choice(files), rng, others)
        try:
            outcomes[check(data)] += 1
        except Exception as error:
            raise AssertionError(
                f"case {case} of {family} with seed {SEED}: {type(error).__name__}: {error}"
            ) from error
        done += 1
        if time.process_time() - start > SECONDS * share:
            break
    assert done >= min(int(CASES * share), 100)
    assert outcomes["refused"] > 0 and outcomes["read"] > 0  # the search reaches both sides


@pytest.mark.slow
def test_mutated_real_files(real_data: Path) -> None:
    """The same injuries to photographs of real scans and to a scanner's own DICOM files."""
    pictures = sorted((real_data / "brain-tumor-mri" / "Testing").rglob("*.jpg"))[::400]
    files = [path.read_bytes() for path in (*pictures, *sorted((real_data / "volumes" / "dicom").rglob("*"))[1::40])
             if path.is_file()]  # fmt: skip
    assert len(files) > 2
    start = time.process_time()
    for case in range(CASES // 6):
        rng = random.Random(f"{SEED}-real-{case}")
        check(mutate(rng.choice(files), rng, files))
        if time.process_time() - start > SECONDS / 4:
            break


@pytest.mark.parametrize("family", FAMILIES)
def test_every_truncation(family: str) -> None:
    """Cut short at many lengths: never the full picture, never a crash."""
    for data in FAMILIES[family]()[:6]:
        for i in range(12):
            check(data[: len(data) * i // 12])


# ---- structured lies ----

NUMBER = st.one_of(
    st.integers(-(2**15), 2**15 - 1), st.sampled_from([0, 1, 2, 7, 8, 16, 32, 64, 255, 32767, -1, -32768])
)
REAL = st.floats(width=32, allow_nan=True, allow_infinity=True)


@examples(150)
@given(
    shape=st.lists(NUMBER, min_size=8, max_size=8),
    datatype=st.sampled_from([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 99]),
    bitpix=NUMBER,
    offset=REAL,
    scale=st.tuples(REAL, REAL),
    codes=st.tuples(st.integers(-3, 5), st.integers(-3, 5)),
    zooms=st.lists(REAL, min_size=8, max_size=8),
    rows=st.lists(REAL, min_size=18, max_size=18),
    units=st.integers(0, 255),
    sane=st.booleans(),
)
def test_lying_nifti_headers(
    shape: list[int],
    datatype: int,
    bitpix: int,
    offset: float,
    scale: tuple[float, float],
    codes: tuple[int, int],
    zooms: list[float],
    rows: list[float],
    units: int,
    sane: bool,
) -> None:
    data = bytearray(nib.Nifti1Image(STACK.transpose(2, 1, 0), np.eye(4)).to_bytes())
    if not sane:  # else the shape stays right, so that the lies about geometry are reached
        data[40:56] = np.array(shape, "<i2").tobytes()
        data[70:74] = np.array([datatype, bitpix], "<i2").tobytes()
        data[108:112] = np.float32(offset).tobytes()
    data[76:108] = np.array(zooms, "<f4").tobytes()
    data[112:120] = np.array(scale, "<f4").tobytes()
    data[123] = units
    data[252:256] = np.array(codes, "<i2").tobytes()
    data[256:328] = np.array(rows, "<f4").tobytes()
    check(bytes(data))


VALUES = st.one_of(
    st.integers(-5, 70000),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.lists(st.floats(allow_nan=True, width=32), max_size=7),
    st.none(),
    st.binary(max_size=6),
)
# fmt: off
KEYS = [
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "PlanarConfiguration", "PixelSpacing", "ImagerPixelSpacing",
    "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue",
    "InstanceNumber", "SliceThickness", "SpacingBetweenSlices", "Modality", "SeriesInstanceUID",
    "PerFrameFunctionalGroupsSequence", "ModalityLUTSequence", "RedPaletteColorLookupTableDescriptor",
]
# fmt: on


@examples(250)
@given(
    tags=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
    dropped=st.sets(st.sampled_from(KEYS), max_size=2),
    kind=st.sampled_from(["RGB", "MONOCHROME1", "PALETTE COLOR", "YBR_FULL", "MONOCHROME2"]),
    length=st.integers(0, 4000),
    frames=st.booleans(),
)
def test_lying_dicom_tags(tags: dict[str, object], dropped: set[str], kind: str, length: int, frames: bool) -> None:
    dataset = dicom(
        STACK if frames else HEAD, PhotometricInterpretation=kind, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
    )
    for key, value in tags.items():
        try:
            setattr(dataset, key, value)
        except Exception:  # what pydicom refuses to hold, a hostile writer could still write: see the mutations
            continue
    for key in dropped:
        if key in dataset:
            del dataset[key]
    if length < 3000:
        dataset.PixelData = dataset.PixelData[:length]
    try:
        data = saved(dataset)
    except Exception:
        return
    check(data)


@examples(120)
@given(
    stn.arrays(
        st.sampled_from(
            [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64, np.bool_]
        ),
        stn.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=40),
    )
)
def test_arrays_of_any_kind(array: np.ndarray) -> None:
    try:
        check_scan(scan_from_array(array))
    except ScanError as error:
        check_sentence(error)


@examples(120)
@given(
    stn.arrays(np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 90)), elements=st.integers(0, 255)),
    st.sampled_from([16, 33, 128]),
    st.integers(0, 255),
)
def test_preprocessing_of_any_picture(image: np.ndarray, size: int, floor: int) -> None:
    image = np.maximum(image, np.uint8(floor))
    square, frame = preprocess(image, size)
    assert square.shape == (size, size) and square.dtype == np.uint8 and frame.side >= 1
    back = restore(np.ones((size, size), np.float32), frame)
    assert back.shape == image.shape and np.isfinite(back).all() and back.max() <= 1.001
    mask = head_mask(image)
    assert mask.dtype == bool and mask.shape == image.shape and mask.any()
    assert np.array_equal(square, preprocess(image.copy(), size)[0])


@examples(60)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF89a"]),
)
def test_noise_after_a_magic_number(noise: bytes, magic: bytes) -> None:
    check(magic + noise)
    check(magic + bytes(128 - len(magic)) + b"DICM" + noise)
    check(gzip.compress(magic + noise))


@examples(40)
@given(st.text(max_size=40), st.binary(min_size=1, max_size=30))
def test_names_of_any_kind(text: str, raw: bytes) -> None:
    for name in (text, os.fsdecode(raw)):
        scan = read_scan(encode(Image.fromarray(HEAD), "PNG"), name=name)
        assert scan.name and scan.name.isprintable() and "/" not in scan.name and scan.name.encode()
        for reader in (read_scan, read_volume):
            with pytest.raises(ScanError) as error:
                reader(b"x", name=name)
            check_sentence(error.value)


def test_flat_giants() -> None:
    """Bombs: few bytes, many pixels. Refused before anything is unpacked, in no time."""
    start = time.process_time()
    header = pydicom.dcmread(io.BytesIO(saved(dicom(HEAD))))
    header.Rows = header.Columns = 65000
    flat = np.zeros((1, 1), np.uint8)
    giants = [saved(header), gzip.compress(bytes(100 * 2**20))]
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        data = bytearray(encode(Image.fromarray(flat), kind))
        if kind == "PNG":
            import zlib

            data[16:24] = (60000).to_bytes(4, "big") * 2
            data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        elif kind == "GIF":
            data[6:10] = b"\xff\xff\xff\xff"
        elif kind == "BMP":
            data[18:26] = (60000).to_bytes(4, "little") * 2
        else:
            at = data.index(b"\x00\x01\x04\x00" if b"\x00\x01\x04\x00" in data else b"\x00\x01\x03\x00")
            data[at + 2 : at + 12] = b"\x04\x00\x01\x00\x00\x00" + (60000).to_bytes(4, "little")
            data[at + 14 : at + 24] = b"\x04\x00\x01\x00\x00\x00" + (60000).to_bytes(4, "little")
        giants.append(bytes(data))
    for giant in giants:
        assert check(giant) == "refused"
    assert time.process_time() - start < 10
