"""Folders as people have them are found, read once, split without leaks, and broken ones are named in a sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brain_mri.classes import CLASSES
from brain_mri.data import cache as pixel_cache
from brain_mri.data import dataset as data
from brain_mri.data import folders, reader, splits, stacks
from brain_mri.data.description import described
from brain_mri.data.phantom import make_phantom, write_dataset
from brain_mri.imaging.preprocessing import Frame, apply_frame, preprocess
from brain_mri.imaging.read import read_scan

SIZE = 64


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training/Testing, groups.csv and segmentation/ of 4 x 24 synthetic slices. Do not write into it."""
    return write_dataset(tmp_path_factory.mktemp("phantoms"), per_class=24, size=128)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reader, "FIRST_WAIT", 0.001)
    return tmp_path / "cache"


def _load(root: Path, masks: Path | None = None, **options: object) -> data.Dataset:
    return data.load_dataset(root, masks, size=SIZE, progress=False, **options)  # type: ignore[arg-type]


def _slice(path: Path, seed: int, label: str = "glioma", size: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_phantom(label, seed=seed, size=size).image).save(path)
    return path


def _two_classes(root: Path, count: int = 4) -> Path:
    for seed in range(count):
        _slice(root / "glioma" / f"{seed}.png", seed)
        _slice(root / "notumor" / f"{seed}.png", 100 + seed, "notumor")
    return root


# ---- names


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("glioma", "glioma"), ("Glioma_Tumor", "glioma"), ("GLIOMA TUMOUR", "glioma"), ("brain_glioma", "glioma"),
        ("meningioma_tumor", "meningioma"), ("brain_menin", "meningioma"), ("no_tumor", "notumor"),
        ("notumor", "notumor"), ("No Tumor", "notumor"), ("no-tumour", "notumor"), ("Normal", "notumor"),
        ("healthy", "notumor"), ("no", "notumor"), ("2-pituitary", "pituitary"), ("Pituitary tumors", "pituitary"),
        ("Glioma T1C+", "glioma"), ("Copy of glioma", "glioma"), ("No_Tumor_MRI", "notumor"), ("glioma (1)", "glioma"),
        ("train_glioma", "glioma"), ("no_contrast", None), ("1", None), ("non contrast T1", None),
        ("images", None), ("tumor", None), ("yes", None), ("segmentation", None), ("", None),
    ],
)  # fmt: skip
def test_class_names(name: str, label: str | None) -> None:
    assert folders.class_of(name) == label


def test_sides_in_the_names_of_classes() -> None:
    assert [folders.split_of(name) for name in ("train_glioma", "Test-Data", "valid", "glioma", "contrast")] == [
        "Training", "Testing", "Validation", None, None
    ]  # fmt: skip


def test_masks_beside_pictures_are_no_pictures_of_the_class(tmp_path: Path) -> None:
    root = _two_classes(tmp_path / "d", 3)
    for seed in range(3):
        mask = make_phantom("glioma", seed=seed, size=80).mask
        Image.fromarray(mask).save(root / "glioma" / f"{seed}_mask.png")
    _slice(root / "glioma" / "label_free.png", 77)
    assert len(_load(root).table) == 7 and set(_load(root).skipped["path"]) == {
        f"glioma/{i}_mask.png" for i in range(3)
    }
    both = _load(root, root)
    assert (both.table["source"] == folders.MASK_PAIRS).sum() == 3 and both.table["has_mask"].sum() == 3 + 3 + 3


def test_folder_layouts_are_found(tmp_path: Path) -> None:
    for seed, file in enumerate(
        [
            "archive/Training/glioma_tumor/a.png", "archive/Testing/No Tumor/b.tif", "archive/val/PITUITARY/c.webp",
            "archive/Training/glioma_tumor/deep/d.bmp", "meningioma/train/e.jpg",
        ]
    ):  # fmt: skip
        _slice(tmp_path / file, seed)
    for junk in ("__MACOSX/glioma/._a.png", ".hidden/glioma/x.png", "archive/Training/glioma_tumor/.DS_Store"):
        (tmp_path / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / junk).write_bytes(b"junk")
    (tmp_path / "glioma").mkdir()
    _slice(tmp_path / "other" / "x.png", 9)
    dataset = _load(tmp_path)
    found = dataset.table.set_index("file")[["class", "official_split"]].apply(tuple, axis=1).to_dict()
    assert found == {
        "archive/Training/glioma_tumor/a.png": ("glioma", "Training"),
        "archive/Training/glioma_tumor/deep/d.bmp": ("glioma", "Training"),
        "archive/Testing/No Tumor/b.tif": ("notumor", "Testing"),
        "archive/val/PITUITARY/c.webp": ("pituitary", "Validation"),
        "meningioma/train/e.jpg": ("meningioma", "Training"),
    }
    assert set(dataset.skipped["path"]) == {"glioma", "other"}


def test_linked_folders_are_followed_and_loops_cut(tmp_path: Path) -> None:
    _two_classes(tmp_path / "real")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "glioma").symlink_to(tmp_path / "real" / "glioma")
    (tmp_path / "root" / "notumor").symlink_to(tmp_path / "real" / "notumor")
    (tmp_path / "real" / "glioma" / "loop").symlink_to(tmp_path / "real" / "glioma")
    assert len(_load(tmp_path / "root").table) == 8


# ---- broken files and folders


def test_unreadable_files_are_listed_with_a_reason(tmp_path: Path) -> None:
    root = _two_classes(tmp_path / "d")
    good = (root / "glioma" / "0.png").read_bytes()
    (root / "glioma" / "empty.png").write_bytes(b"")
    (root / "glioma" / "cut.png").write_bytes(good[: len(good) // 2])
    (root / "glioma" / "readme.txt").write_text("hello")
    (root / "notumor" / "noise.jpg").write_bytes(b"\xff\xd8\xff" + os.urandom(500))
    Image.new("L", (3, 3)).save(root / "notumor" / "tiny.png")
    odd = os.fsencode(root / "notumor") + b"/na\xffme.png"
    Path(os.fsdecode(odd)).write_bytes(good)
    dataset = _load(root)
    reasons = {Path(path).name: reason for path, reason in dataset.skipped.itertuples(index=False)}
    assert set(reasons) == {"empty.png", "cut.png", "readme.txt", "noise.jpg", "tiny.png"}
    assert "empty" in reasons["empty.png"] and "damaged" in reasons["cut.png"]
    assert "formats" in reasons["readme.txt"] and "too few" in reasons["tiny.png"]
    assert len(dataset.table) == 9
    assert "empty.png" in described(dataset)
    odd_row = dataset.table[dataset.table["file"].str.contains("udcff")].iloc[0]
    assert Path(str(odd_row["path"])).read_bytes() == good, "the path must open the file"
    dataset.table["file"].to_csv(tmp_path / "t.csv")  # and the name must be printable
    again = _load(root)
    assert len(again.skipped) == 5 and again.fingerprint() == dataset.fingerprint()


def test_what_cannot_be_used_stops_with_a_sentence(tmp_path: Path) -> None:
    def message(root: Path, masks: Path | None = None, **options: object) -> str:
        with pytest.raises(folders.DataError) as error:
            _load(root, masks, **options)
        assert "\n" not in str(error.value) and str(error.value).endswith((".", ")."))
        return str(error.value)

    assert "does not exist" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no class folder" in message(tmp_path / "empty")
    one = tmp_path / "one"
    _slice(one / "glioma" / "a.png", 1)
    assert "only the class glioma" in message(one)
    assert "single class" in message(one / "glioma")
    _slice(tmp_path / "yes-no" / "yes" / "a.png", 1)
    _slice(tmp_path / "yes-no" / "no" / "a.png", 2)
    assert "only 2 groups" in message(tmp_path / "yes-no")
    broken = _two_classes(tmp_path / "broken", 2)
    for path in (broken / "notumor").iterdir():
        path.write_bytes(b"not a picture")
    text = message(broken)
    assert "class notumor" in text and "0.png" in text
    fine = _two_classes(tmp_path / "fine", 3)
    assert "images and masks" in message(fine, one)
    assert "groups file" in message(fine, groups=tmp_path / "none.csv")
    (fine / "groups.csv").write_text("name,cluster\na,b\n")
    assert "lacks the column file" in message(fine)
    (fine / "groups.csv").unlink()
    assert "no Training folder" in message(fine, official_split=True)


def test_one_class_may_be_judged(tmp_path: Path) -> None:
    for seed in range(3):
        _slice(tmp_path / "glioma" / f"{seed}.png", seed)
    assert set(_load(tmp_path, min_classes=1).table["class"]) == {"glioma"}


def test_flaky_drive_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _two_classes(tmp_path / "d")
    calls: dict[str, int] = {}
    real = Path.read_bytes

    def flaky(self: Path) -> bytes:
        calls[self.name + self.parent.name] = number = calls.get(self.name + self.parent.name, 0) + 1
        if self.suffix == ".png" and number < (99 if self.name == "3.png" else 3):
            raise OSError(5, "Input/output error")
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", flaky)
    dataset = _load(root)
    assert len(dataset.table) == 6
    assert dataset.skipped["reason"].tolist() == ["could not be read after 4 attempts (Input/output error)"] * 2
    monkeypatch.setattr(Path, "read_bytes", real)
    assert len(_load(root).table) == 8, "what failed once must be tried again at the next start"


def test_files_that_change_or_vanish_while_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _two_classes(tmp_path / "d")
    real, replaced = Path.read_bytes, (root / "notumor" / "1.png").read_bytes()

    def moving(self: Path) -> bytes:
        content = real(self)
        if self.parent.name == "glioma" and self.name == "0.png":
            self.unlink()
        if self.parent.name == "glioma" and self.name == "1.png" and content != replaced:
            self.write_bytes(replaced)  # a download that finishes while it is read
        if self.parent.name == "glioma" and self.name == "2.png":
            os.utime(self, ns=(time.time_ns(), time.time_ns()))
        return content

    monkeypatch.setattr(Path, "read_bytes", moving)
    dataset = _load(root)
    reasons = {Path(path).name: reason for path, reason in dataset.skipped.itertuples(index=False)}
    assert "vanished" in reasons["0.png"] and "kept changing" in reasons["2.png"]
    table = dataset.table.set_index("file")
    assert str(table.at["glioma/1.png", "digest"]) == str(table.at["notumor/1.png", "digest"])


# ---- what is read


def test_rows_hold_what_the_files_hold(phantoms: Path) -> None:
    dataset = _load(phantoms, phantoms / "segmentation")
    table = dataset.table
    assert table.index.tolist() == list(range(len(table)))
    assert list(zip(table["source"], table["file"], strict=True)) == sorted(
        zip(table["source"], table["file"], strict=True)
    )
    assert dataset.images.shape == dataset.masks.shape == (len(table), SIZE, SIZE)
    assert dataset.images.dtype == dataset.masks.dtype == np.uint8
    for row in range(0, len(table), 17):
        line, scan = table.iloc[row], read_scan(table["path"].iloc[row])
        square, frame = preprocess(scan.image, SIZE)
        assert np.array_equal(square, dataset.images[row])
        assert [str(line[name]) for name in ("width", "height", "mode")] == ["128", "128", "L"]
        assert line["mean"] == pytest.approx(scan.image.mean()) and line["std"] == pytest.approx(scan.image.std())
        assert frame == Frame(128, 128, *line[["top", "left", "side"]].tolist())
        if str(line["source"]) == folders.MASK_PAIRS:
            stored = cv2.imread(str(line["path"]).replace("images", "masks"), cv2.IMREAD_GRAYSCALE)
            assert stored is not None
            expected = apply_frame((stored > 127).astype(np.uint8) * 255, frame, SIZE) > 127
            assert np.array_equal(dataset.masks[row] > 127, expected)
    pairs = table["source"] == folders.MASK_PAIRS
    assert table.loc[pairs, "has_mask"].all() and table.loc[table["class"] == "notumor", "has_mask"].all()
    assert not dataset.masks[(table["class"] == "notumor").to_numpy()].any()
    assert set(np.unique(dataset.masks)) == {0, 255}
    assert table.loc[pairs, "fold"].between(1, 5).all() and (table["official_split"] == "").equals(pairs)
    twins = table[table["mask_from"] >= 0]
    assert len(twins) >= 0.5 * (len(table[~pairs]) - (table["class"] == "notumor").sum())
    givers = table.iloc[twins["mask_from"].to_numpy()]
    assert givers["patient"].tolist() == twins["patient"].tolist()
    assert dataset.masks[twins.index].any(axis=(1, 2)).all()


def test_spacing_and_colour_modes(tmp_path: Path) -> None:
    root = _two_classes(tmp_path, 2)
    gray = make_phantom("glioma", seed=77, size=90).image
    Image.fromarray(gray).convert("RGB").save(root / "glioma" / "rgb.jpg")
    Image.fromarray(gray.astype(np.uint16) * 200).save(root / "glioma" / "deep.png")
    table = _load(root).table.set_index("file")
    assert str(table.at["glioma/rgb.jpg", "mode"]) == "RGB"
    assert str(table.at["glioma/deep.png", "mode"]).startswith("I;16")
    assert table["spacing"].isna().all() and (table["sharpness"] > 0).all()
    assert table["duplicate_of"].tolist().count(-1) == len(table) - 1, "both files show the same slice"


def test_thumbnails_are_of_the_whole_picture_as_stored(tmp_path: Path) -> None:
    root = _two_classes(tmp_path, 2)
    picture = np.zeros((60, 100), np.uint8)
    picture[:, 50:] = 200
    Image.fromarray(picture).save(root / "glioma" / "halves.png")
    dataset = _load(root)
    row = dataset.table.index[dataset.table["file"] == "glioma/halves.png"][0]
    for found in (dataset.small[row], dataset.thumbnails[row]):
        assert found[:, 0].max() == 0
        assert found[:, -1].min() == 200
    assert dataset.small.shape == (5, 32, 32) and dataset.thumbnails.shape == (5, 64, 64)


def test_mask_pairs_of_many_kinds(tmp_path: Path) -> None:
    root = _two_classes(tmp_path / "d", 3)
    pairs = tmp_path / "pairs"
    values = {"a": 255, "b": 1, "c": 3, "d": 255, "e": 255}
    for seed, (stem, value) in enumerate(values.items()):
        phantom = make_phantom("meningioma", seed=40 + seed, size=80)
        _slice(pairs / "Images" / f"{stem}.png", 40 + seed, "meningioma")
        mask = (phantom.mask > 0).astype(np.uint8) * value
        (pairs / "Masks").mkdir(exist_ok=True)
        name = f"{stem}_mask.png" if stem == "d" else f"{stem}.png"
        if stem == "e":
            mask = mask[:50]
        Image.fromarray(mask).save(pairs / "Masks" / name)
    _slice(pairs / "Images" / "lonely.png", 60)
    _slice(pairs / "Masks" / "orphan.png", 61)
    (pairs / "patients.csv").write_text("file,class,patient,fold\na.png,meningioma,P1,1\nb.png,meningioma,P1,\n")
    dataset = _load(root, pairs)
    rows = dataset.table[dataset.table["source"] == folders.MASK_PAIRS].set_index("file")
    assert list(rows.index) == [f"Images/{stem}.png" for stem in "abcd"]
    assert rows["class"].tolist() == ["meningioma", "meningioma", "", ""]
    assert rows["patient"].tolist() == ["P1", "P1", "", ""] and rows["group"].iloc[0] == rows["group"].iloc[1]
    assert rows["fold"].tolist() == [1, 1, -1, -1]
    reasons = {Path(path).name: reason for path, reason in dataset.skipped.itertuples(index=False)}
    assert set(reasons) == {"lonely.png", "orphan.png", "e.png"} and "80x50" in reasons["e.png"]
    for seed, stem in enumerate("abcd"):
        phantom = make_phantom("meningioma", seed=40 + seed, size=80)
        truth = apply_frame(phantom.mask, preprocess(phantom.image, SIZE)[1], SIZE) > 127
        row = dataset.table.index[dataset.table["file"] == f"Images/{stem}.png"][0]
        assert np.array_equal(dataset.masks[row] > 127, truth)
    assert "(unknown)" in described(dataset)


# ---- cache


def test_second_start_reads_no_picture(phantoms: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    first = _load(phantoms, phantoms / "segmentation")
    assert len(list(own_cache.iterdir())) == 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a picture was decoded again")

    monkeypatch.setattr(reader, "stack_of", never)
    monkeypatch.setattr(reader.duplicates, "find_links", never)
    monkeypatch.setattr(reader.mask_transfer, "find_twins", never)
    second = _load(phantoms, phantoms / "segmentation")
    pd.testing.assert_frame_equal(first.table, second.table)
    pd.testing.assert_frame_equal(first.links, second.links, check_dtype=False)
    for name in ("images", "masks", "thumbnails", "small"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_only_changed_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _two_classes(tmp_path / "d", 5)
    _load(root)
    _slice(root / "glioma" / "2.png", 555)
    _slice(root / "glioma" / "new.png", 556)
    (root / "notumor" / "4.png").unlink()
    decoded: list[str] = []
    real = stacks.stack_of

    def watched(content: bytes, name: str) -> stacks.Stack:
        decoded.append(name)
        return real(content, name)

    monkeypatch.setattr(reader, "stack_of", watched)
    changed = _load(root)
    assert sorted(decoded) == ["2.png", "new.png"]
    shutil.rmtree(Path(os.environ["BRAIN_MRI_CACHE"]))
    fresh = _load(root)
    pd.testing.assert_frame_equal(changed.table, fresh.table)
    assert np.array_equal(changed.images, fresh.images)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no zip", "cut", "foreign", "other code"])
def test_damaged_caches_are_made_anew(
    tmp_path: Path, damage: bytes | str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = _two_classes(tmp_path / "d", 3), tmp_path / "c.npz"
    first = _load(root, cache=cache)
    content = cache.read_bytes()
    if damage == "foreign":
        np.savez(cache, header=np.zeros(3))
    elif damage == "other code":
        monkeypatch.setattr(pixel_cache, "code_of", lambda: "other")
    else:
        cache.write_bytes(content[: len(content) // 2] if isinstance(damage, str) else damage)
    again = _load(root, cache=cache)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert pixel_cache.load(cache, SIZE) is not None, "the new cache must be usable"
    assert damage == "other code" or "made anew" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".c")] == []


def test_every_file_that_makes_the_rows_is_in_the_key_of_the_cache(tmp_path: Path) -> None:
    """A file of imaging/ that changes or comes new, or a reader of data/, makes the cache stale; one that is missing is
    noticed."""
    imaging, readers = tmp_path / "imaging", tmp_path / "data"
    shutil.copytree(pixel_cache.IMAGING, imaging)
    shutil.copytree(pixel_cache.DATA, readers)
    seen = {pixel_cache.code_of()}
    assert pixel_cache.code_of(imaging, readers) in seen
    changed = [*imaging.glob("*.py"), imaging / "new.py", *(readers / name for name in pixel_cache.READERS)]
    for path in changed:
        with path.open("a") as file:
            file.write("# changed\n")
        key = pixel_cache.code_of(imaging, readers)
        assert key not in seen, path.name
        seen.add(key)
    assert len(changed) > 12
    (readers / "duplicates.py").unlink()
    with pytest.raises(FileNotFoundError):
        pixel_cache.code_of(imaging, readers)


def test_a_cache_that_cannot_be_written_is_only_mentioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _two_classes(tmp_path / "d", 3)
    (tmp_path / "file").write_text("in the way")
    assert len(_load(root, cache=tmp_path / "file" / "sub").table) == 6
    assert "could not be cached" in capsys.readouterr().err

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_cache.np, "savez", full)
    assert len(_load(root, cache=tmp_path / "cc").table) == 6
    assert "No space left" in capsys.readouterr().err
    assert list((tmp_path / "cc").iterdir()) == [], "nothing half-written may stay"


def test_sizes_have_their_own_caches_and_the_same_groups(tmp_path: Path, own_cache: Path) -> None:
    root = _two_classes(tmp_path / "d", 5)
    one = data.load_dataset(root, size=64, progress=False)
    two = data.load_dataset(root, size=96, progress=False)
    assert one.images.shape[1] == 64 and two.images.shape[1] == 96 and len(list(own_cache.iterdir())) == 2
    assert one.table["group"].equals(two.table["group"]) and one.fingerprint() == two.fingerprint()


# ---- groups, and splits of what was read


def test_no_group_and_no_patient_is_cut(phantoms: Path) -> None:
    for seed in range(3):
        table = _load(phantoms, phantoms / "segmentation", seed=seed).table
        assert table.groupby("group")["split"].nunique().max() == 1
        assert table[table["patient"] != ""].groupby("patient")["split"].nunique().max() == 1
        assert table.groupby("cluster")["split"].nunique().max() == 1
        assert table.groupby("digest")["split"].nunique().max() == 1
        shares = pd.crosstab(table["class"], table["split"])
        assert (shares > 0).all(axis=None), "every class needs pictures in every part"


def test_splits_do_not_depend_on_names_order_or_place(phantoms: Path, tmp_path: Path) -> None:
    first = _load(phantoms, phantoms / "segmentation", seed=3)
    copy = tmp_path / "elsewhere"
    shutil.copytree(phantoms, copy)
    second = _load(copy, copy / "segmentation", seed=3)
    assert first.fingerprint() == second.fingerprint()
    assert _load(phantoms, phantoms / "segmentation", seed=4).fingerprint() != first.fingerprint()
    shuffled = first.table.sample(frac=1, random_state=1)
    again = splits.split_groups(shuffled, 3)
    assert again.sort_index().tolist() == first.table["split"].tolist()


def test_copies_without_any_table_stay_together(tmp_path: Path) -> None:
    for seed in range(12):
        picture = make_phantom(CLASSES[seed % 2], seed=300 + seed, size=96).image
        path = _slice(tmp_path / "Training" / CLASSES[seed % 2] / f"{seed}.png", 300 + seed, CLASSES[seed % 2], 96)
        mirrored = tmp_path / "Testing" / CLASSES[seed % 2] / f"{seed}.jpg"
        mirrored.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[:, ::-1]).save(mirrored, quality=80)
        assert path.is_file()
    dataset = _load(tmp_path)
    table = dataset.table
    assert (table["duplicate_of"] >= 0).sum() == table["mirrored"].sum() == 12
    assert table["group"].nunique() == 12 and table.groupby("group")["split"].nunique().max() == 1
    official = _load(tmp_path, official_split=True).table
    assert (official.loc[official["official_split"] == "Testing", "split"] == "test").all()
    training = official[official["official_split"] == "Training"]
    assert set(training["split"]) == {"train", "validation"}


def test_tensorflow_is_never_imported(phantoms: Path) -> None:
    code = (
        "import sys, pathlib; from brain_mri.data import dataset; from brain_mri.evaluation import audit;"
        "dataset.load_dataset(pathlib.Path(sys.argv[1]), size=64, progress=False);"
        "assert not {'tensorflow', 'keras', 'gradio', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(phantoms)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- real data


def pair_agreement(ours: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """(precision, recall) of the pairs of rows that we put together, against another grouping of the same rows."""
    table = pd.crosstab(ours, reference).to_numpy()
    both, mine, theirs = (int((n * (n - 1) // 2).sum()) for n in (table, table.sum(axis=1), table.sum(axis=0)))
    return both / mine, both / theirs


def test_real_data_groups(real_data: Path, tmp_path: Path) -> None:
    """DATA.md: copies agree with groups.csv, no patient is joined with another, every figshare slice gets its mask."""
    from brain_mri.data import duplicates

    roots = real_data / "brain-tumor-mri", real_data / "segmentation"
    started = time.perf_counter()
    dataset = data.load_dataset(*roots, cache=tmp_path, progress=False)
    first = time.perf_counter() - started
    started = time.perf_counter()
    again = data.load_dataset(*roots, cache=tmp_path, progress=False)
    assert time.perf_counter() - started < 0.1 * first
    assert again.fingerprint() == dataset.fingerprint()
    table, links = dataset.table, dataset.links
    patient = table["patient"].to_numpy(object)
    a, b = links["a"].to_numpy(), links["b"].to_numpy()
    assert not ((patient[a] != patient[b]) & (patient[a] != "") & (patient[b] != "")).any()
    given = folders.read_groups(roots[0] / "groups.csv")
    stated = {file: group for file, (group, kind) in given.items() if kind != "patient"}
    known = np.flatnonzero((table["source"] == folders.CLASS_FOLDER) & table["file"].isin(list(stated)))
    reference = table["file"].iloc[known].map(stated).to_numpy()
    certain = links[links["kind"].isin(["exact", "copy"])]
    labels = duplicates.components(len(table), certain["a"].to_numpy(), certain["b"].to_numpy())
    precision, recall = pair_agreement(labels[known], reference)
    assert precision >= 0.97 and recall >= 0.97
    everything = duplicates.components(len(table), a, b)
    assert pair_agreement(everything[known], reference)[1] >= 0.97
    assert (table["mask_from"] >= 0).sum() >= 3800
    assert table.groupby("group").size().max() < 300
    assert table.groupby("group")["split"].nunique().max() == 1
