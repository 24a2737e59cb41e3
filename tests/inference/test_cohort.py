"""What the workers of a cluster take at a time: every file once, and together what belongs together."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_mri.inference import cohort
from brain_mri.inference.cohort import Chunk, chunks
from brain_mri.inference.jobs import BatchError


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "FILES", 3)


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def parts(found: list[Chunk], root: Path) -> list[list[str]]:
    return [[name.rpartition(f"{root}/")[2] for name in chunk.files] for chunk in found]


def test_pictures_are_cut_and_series_are_not(tmp_path: Path) -> None:
    write(tmp_path, *(f"a/{i}.png" for i in range(5)), *(f"b/{i}.dcm" for i in range(5)), "c/v.nii.gz", "d/1", "d/2")
    found = chunks([str(tmp_path)], "out")
    assert parts(found, tmp_path) == [
        ["a/0.png", "a/1.png", "a/2.png"],
        ["a/3.png", "a/4.png"],
        [f"b/{i}.dcm" for i in range(5)],
        ["c/v.nii.gz", "d/1", "d/2"],
    ]
    assert [chunk.torn for chunk in found] == [(f"{tmp_path}/a",), (f"{tmp_path}/a",), (), ()]
    assert [chunk.name for chunk in found] == ["000000", "000001", "000002", "000003"]


def test_large_files_make_small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "BYTES", 12)
    write(tmp_path, "a.png", "b.png", "c.png")
    assert [len(chunk.files) for chunk in chunks([str(tmp_path)], "out")] == [2, 1]


def test_a_changed_file_changes_its_chunk_alone(tmp_path: Path) -> None:
    write(tmp_path, *(f"{i}.png" for i in range(6)))
    before = chunks([str(tmp_path)], "out")
    (tmp_path / "4.png").write_bytes(b"another")
    after = chunks([str(tmp_path)], "out")
    assert before[0] == after[0] and before[1].state != after[1].state and before[1].files == after[1].files


def test_pieces_hold_every_file_once_and_folders_of_series_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort, "FILES", 100)
    write(tmp_path, "a/1.png", "a/2.png", "b/1.dcm", "b/2.dcm")
    (whole,) = chunks([str(tmp_path)], "out")
    pieces = whole.pieces()
    assert parts(pieces, tmp_path) == [["a/1.png"], ["a/2.png"], ["b/1.dcm", "b/2.dcm"]]
    assert len({piece.state for piece in (whole, *pieces)}) == 4
    assert sorted(piece.name for piece in pieces) == [f"000000-{i:06}" for i in range(3)]
    assert len(pieces[0].pieces()) == 1


def test_addresses(tmp_path: Path) -> None:
    """The files that a folder would give, with those beside that headers may speak of; never the results."""
    pytest.importorskip("fsspec")
    names = ("b.png", "a/1.png", "a/2.png", "x/v.mhd", "x/v.raw", "x/w.png")
    root = write(tmp_path / "in", *names, "notes.txt", ".h.png", "__MACOSX/1.png", ".h/1.png", "out/overlays/1.png")
    found = chunks([f"file://{root}"], f"file://{root}/out")
    assert parts(found, root) == [["b.png", "a/1.png", "a/2.png"], ["x/v.mhd", "x/w.png"]]
    assert all(name.startswith("file:///") for chunk in found for name in chunk.files)
    assert [chunk.beside for chunk in found] == [(), (f"file://{root}/x/v.raw",)]
    for pattern, wanted in (
        ("a/*.png", ["a/1.png", "a/2.png"]),
        ("b.png", ["b.png"]),
        ("notes.txt", ["notes.txt"]),
        ("[a]", ["a/1.png", "a/2.png"]),
    ):
        assert parts(chunks([f"file://{root}/{pattern}"], "out"), root) == [wanted]
    both = chunks([f"file://{root}/a", str(root / "b.png"), f"file://{root}/a/1.png"], "out")
    assert [name for chunk in both for name in chunk.files] == [
        f"{root}/b.png",
        f"file://{root}/a/1.png",
        f"file://{root}/a/2.png",
    ]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("file:///no/such/place", "There is no file, folder or match"),
        ("file:///no/such/*.png", "There is no file, folder or match"),
        ("odd://bucket", "could not be listed"),
    ],
)
def test_addresses_that_hold_nothing(address: str, sentence: str) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(BatchError, match=sentence):
        chunks([address], "out")
