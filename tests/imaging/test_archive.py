"""Archives of every kind, by content: what is in them is read or counted, and what is none is one sentence."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_mri.imaging import archive
from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import is_stack, read_volume
from tests.helpers.files import encode, nifti, sentence, series, tarred, zipped


def study(stack: np.ndarray) -> dict[str, bytes]:
    return {f"study/IM{i}": data for i, data in enumerate(series(stack))}


def test_every_kind_by_content(stack: np.ndarray, tmp_path: Path) -> None:
    files = study(stack)
    packed = {f"{name}.dcm.gz": gzip.compress(data) for name, data in files.items()}
    for data in (
        zipped(files),
        tarred(files),
        tarred(files, "w:gz"),
        gzip.compress(tarred(files)),
        zipped(packed),
        tarred(packed, "w:gz"),
        zipped({"inner.zip": zipped(files)}),
        zipped({"inner.tgz": tarred(files, "w:gz")}),
        tarred({"deep/inner.ZIP": zipped(packed)}),
    ):
        for suffix in (".ZIP", ".tar.gz", ".dcm", ""):
            path = tmp_path / f"study{suffix}"
            path.write_bytes(data)
            volume = read_volume(path)
            assert np.array_equal(volume.voxels, stack) and volume.warnings == () and volume.name == path.name
            assert is_volume(path) and is_stack(path)
        with pytest.raises(ScanError, match="archive"):
            read_scan(data)
    with pytest.raises(ScanError, match="holds no"):  # one level, no more
        read_volume(zipped({"a.zip": zipped({"b.zip": zipped(files)})}))


def test_several_archives_and_a_folder_of_them(stack: np.ndarray, tmp_path: Path) -> None:
    files = list(study(stack).items())
    (tmp_path / "a.zip").write_bytes(zipped(dict(files[:4])))
    (tmp_path / "b.tar").write_bytes(tarred(dict(files[4:])))
    for source in (tmp_path, [tmp_path / "b.tar", tmp_path / "a.zip"]):
        assert np.array_equal(read_volume(source).voxels, stack)


def test_what_is_passed_over_is_counted(stack: np.ndarray) -> None:
    more = {"report.pdf": b"%PDF-1.4", "key.png": encode(Image.fromarray(stack[0]), "PNG"), "read.me": b"hello"}
    hidden = {".DS_Store": b"x", "__MACOSX/._IM0": b"y", "study/.hidden": b"z"}
    (said,) = read_volume(zipped(study(stack) | more | hidden), name="s.zip").warnings
    assert said == "3 other files of s.zip were passed over: report.pdf, key.png, read.me."
    pair = {"a.nii.gz": gzip.compress(nifti(stack)), "b.txt.gz": gzip.compress(b"hello")}
    (said,) = read_volume(tarred(pair)).warnings
    assert said == "1 other file of upload were passed over: b.txt.gz."
    with pytest.raises(ScanError) as error:
        read_volume(zipped({f"{i}.png": more["key.png"] for i in range(12)}), name="p.zip")
    assert "Batch" in sentence(error) and "and 4 more" in str(error.value)


def test_one_sentence_for_each_kind_of_failed_download(stack: np.ndarray) -> None:
    good, tar = zipped(study(stack)), tarred(study(stack))
    locked = bytearray(good)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := good.find(signature, start)) >= 0:
            locked[start + at] |= 1
            start += 4
    for data, words in (
        (bytes(locked), "password"),
        (zipped({"inner.zip": bytes(locked)}), "password"),
        (good[: len(good) // 2], "incomplete zip archive"),
        (good[:-10], "damaged zip archive"),
        (b"PK\x07\x08" + good, "split zip archive"),
        (tar[: len(tar) // 2], "incomplete tar archive|damaged tar archive"),
        (gzip.compress(tar)[:-2000], "damaged or incomplete"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\xef\xbb\xbf\n<HTML>" + bytes(1000), "web page"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(100), "archive of a kind"),
        (b"BZh91AY&SY" + bytes(100), "archive of a kind"),
    ):
        with pytest.raises(ScanError, match=words) as error:
            read_volume(data, name="archive.zip")
        assert sentence(error).startswith(("archive.zip", "inner.zip"))
        with pytest.raises(ScanError) as error:
            read_scan(data, name="archive.zip")
        sentence(error)


def test_a_damaged_member_is_passed_over(stack: np.ndarray) -> None:
    files = study(stack)
    data = bytearray(zipped(files))
    at = bytes(data).find(b"IM3") + 400
    data[at : at + 8] = b"\xff" * 8
    volume = read_volume(bytes(data), name="s.zip")
    assert len(volume) == 6 and any("1 DICOM" in w or "1 other file" in w for w in volume.warnings)


def test_bombs(stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL", 3_000_000)
    start = bytes(128) + b"DICM"
    many = {f"{i}.dcm": start + bytes(900_000) for i in range(9)}
    for data in (
        zipped({"a.dcm.gz": gzip.compress(start + bytes(40_000_000))}),
        gzip.compress(tarred({"a.dcm": start + bytes(40_000_000)})),
        zipped({"inner.zip": zipped(many)}),
        zipped({f"{name}.gz": gzip.compress(data) for name, data in many.items()}),
        tarred(many),
    ):
        with pytest.raises(ScanError, match="unpacks to more than"):
            read_volume(data)
    monkeypatch.setattr(archive, "MAX_FILES", 5)
    for data in (tarred({str(i): b"x" for i in range(6)}), zipped({"a.zip": zipped({str(i): b"x" for i in range(6)})})):
        with pytest.raises(ScanError, match="more than 5 files"):
            read_volume(data)


def test_links_in_a_tar_lead_nowhere(stack: np.ndarray, tmp_path: Path) -> None:
    secret = tmp_path / "secret.nii"
    secret.write_bytes(nifti(stack))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind in (("a.nii", tarfile.SYMTYPE), ("b.nii", tarfile.LNKTYPE), ("c.nii", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    with pytest.raises(ScanError, match="holds no"):
        read_volume(stream.getvalue())


def test_an_upload_is_not_named_by_its_hash(stack: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / ("0123456789abcdef" * 4)
    folder.mkdir()
    paths = []
    for i, data in enumerate(series(stack)):
        paths.append(folder / f"{i}.dcm")
        paths[-1].write_bytes(data)
    assert read_volume(paths).name == "series" and read_volume(paths, name="knee").name == "knee"
    (tmp_path / "study").mkdir()
    moved = [path.rename(tmp_path / "study" / path.name) for path in paths]
    assert read_volume(moved).name == "study"


def test_seven_zip(stack: np.ndarray) -> None:
    start = b"7z\xbc\xaf\x27\x1c"
    try:
        import py7zr
    except ImportError:
        with pytest.raises(ScanError, match="7z archive"):
            read_volume(start + bytes(100))
        return
    stream = io.BytesIO()
    with py7zr.SevenZipFile(stream, "w") as packed:
        for name, data in study(stack).items():
            packed.writestr(data, name)
    assert np.array_equal(read_volume(stream.getvalue()).voxels, stack)
