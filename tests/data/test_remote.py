"""Data sets by name: the real clients of Kaggle and of the Hub against servers on the loopback, and archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brain_mri.cli import audit
from brain_mri.data import remote, unpack
from brain_mri.data.dataset import load_dataset
from brain_mri.data.download import NoNetwork
from brain_mri.data.folders import DataError
from brain_mri.data.phantom import write_dataset
from brain_mri.data.remote import fetched, given, inner, without_secrets
from dev.child_process import free_port
from tests.helpers.loopback_hub import LoopbackHub
from tests.helpers.loopback_kaggle import LoopbackKaggle, zipped

pytest_plugins = ("tests.helpers.loopback_kaggle", "tests.helpers.loopback_hub")  # fixtures `kaggle` and `loopback`
SET = "kaggle:ada/brain-mri"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Class folders of files that only have names."""
    for place in ("Training/glioma/1.jpg", "Training/notumor/1.jpg", "Testing/glioma/2.jpg", "groups.csv"):
        path = tmp_path / "made" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("file,group\n" if path.suffix == ".csv" else place * 30_000)
    return tmp_path / "made"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "AGAIN", 0.0)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def left(cache: Path) -> list[str]:
    return [name for name in names(cache) if not name.endswith(".lock")]


def refused(asked: str, said: str, kind: type[DataError] = DataError) -> None:
    with pytest.raises(kind, match=said) as error:
        fetched(asked)
    assert type(error.value) is kind and "\n" not in str(error.value) and str(error.value).endswith(".")


def test_words_of_a_command_line() -> None:
    assert given("data/x") == Path("data/x") and given("C:/data") == Path("C:/data")
    assert given("kaggle:a/b") == "kaggle:a/b" and given("https://x.org//y.zip") == "https://x.org//y.zip"
    assert without_secrets("https://ada:word@x.org/a.zip?sig=1#z") == "https://x.org/a.zip?..."
    assert without_secrets("https://x.org/a.zip") == "https://x.org/a.zip" and without_secrets("--data") == "--data"
    assert without_secrets("--data=https://x.org/a.zip?sig=1") == "--data=https://x.org/a.zip?..."
    assert without_secrets("HTTPS://x.org/a.zip?sig=1") == "https://x.org/a.zip?..."
    refused("http://[::1/x.zip?sig=1", r"^http://\.\.\. is no address")
    for wrong in ("kaggle:ada", "kaggle:../x/y", "hf:x", "hf:a/b/c", "https:", "kaggle:ada/x/versions/y"):
        refused(wrong, "is no name of a data set: write kaggle:owner/name")


# -- Kaggle ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def on_kaggle(kaggle: LoopbackKaggle, folders: Path) -> LoopbackKaggle:
    pytest.importorskip("kagglehub")
    kaggle.publish("ada/brain-mri", folders)
    return kaggle


def test_kaggle_fetches_once_and_resumes(
    on_kaggle: LoopbackKaggle, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    on_kaggle.cut = 1_500_000  # of 1.8 MB, which kagglehub writes in pieces of 1 MB
    name, folder = fetched(SET)
    assert name == "brain-mri" and names(folder) == names(folders)
    assert on_kaggle.requests(r"/archive/.* bytes=\d{7}-$"), on_kaggle.log
    assert set(on_kaggle.tokens) == {""}  # no account
    assert "versions/1 keeps to it" in capfd.readouterr().err
    downloads = len(on_kaggle.requests("/archive/"))
    assert fetched(SET) == fetched(f"{SET}/versions/1") == (name, folder)
    assert fetched("https://www.kaggle.com/datasets/ada/brain-mri/data?select=x") == (name, folder)
    assert len(on_kaggle.requests("/archive/")) == downloads


def test_kaggle_versions(on_kaggle: LoopbackKaggle, folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = fetched(SET)[1]
    (folders / "Testing" / "glioma" / "3.jpg").write_text("later")
    on_kaggle.publish("ada/brain-mri", folders)
    second = fetched(SET)[1]
    assert "Testing/glioma/3.jpg" in names(second) and second != first
    assert fetched(f"{SET}/versions/1")[1] == first
    refused(f"{SET}/versions/7", "Kaggle has no public data set ada/brain-mri/versions/7")
    on_kaggle.stop()
    asked = len(on_kaggle.log)
    assert fetched(f"{SET}/versions/1")[1] == first and "Note" in capfd.readouterr().err
    assert fetched(SET)[1] == second
    assert "cannot be reached for ada/brain-mri: no network, or it is down. Version 2, fetched earlier, is used." in (
        capfd.readouterr().err
    )
    assert len(on_kaggle.log) == asked
    refused("kaggle:ada/other", "Kaggle cannot be reached", NoNetwork)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, "without a login: open https://www.kaggle.com/datasets/ada/brain-mri once", DataError),
        (404, "Kaggle has no public data set ada/brain-mri", DataError),
        (429, "HTTP 429", NoNetwork),
        (503, "a fault of its own", NoNetwork),
        (418, "Kaggle refuses", DataError),
    ],
)
def test_kaggle_refuses(on_kaggle: LoopbackKaggle, status: int, said: str, kind: type[DataError]) -> None:
    on_kaggle.refusals["ada/brain-mri"] = status
    refused(SET, said, kind)


def test_kaggle_damaged(on_kaggle: LoopbackKaggle, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_kaggle.damaged = 99
    refused(SET, "arrived damaged")
    on_kaggle.damaged = 1  # once, so it is fetched anew
    assert names(fetched(SET)[1]) == names(folders)
    monkeypatch.setitem(__import__("sys").modules, "kagglehub", None)
    refused(SET, r"needs the package kagglehub \(pip install kagglehub\)")


def test_kaggle_of_archives_is_unpacked_further(on_kaggle: LoopbackKaggle, folders: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "part.zip").write_bytes(zipped(folders / "Training"))
    (packed / "readme.txt").write_text("of two")
    on_kaggle.publish("ada/packed", packed)
    name, folder = fetched("kaggle:ada/packed")
    assert name == folder.name == "packed"
    assert names(folder) == ["part/glioma/1.jpg", "part/notumor/1.jpg", "readme.txt"]
    (packed / "part.zip").write_bytes(b"no archive")
    on_kaggle.publish("ada/packed", packed)
    refused("kaggle:ada/packed", "part.zip in kaggle:ada/packed is no zip or tar file")


# -- the Hub --------------------------------------------------------------------------------------------------------
def test_hub(loopback: LoopbackHub, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
             capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    first = loopback.publish(folders, "ada/brain-mri", "dataset")
    name, folder = fetched("hf:ada/brain-mri")
    assert name == "brain-mri" and [n for n in names(folder) if n[0] != "."] == names(folders)
    loopback.edit("ada/brain-mri", {"Testing/glioma/3.jpg": b"later"}, "dataset")
    later = fetched("https://huggingface.co/datasets/ada/brain-mri/tree/main")[1]
    assert "Testing/glioma/3.jpg" in names(later) and "Testing/glioma/3.jpg" not in names(folder)
    assert fetched(f"hf:ada/brain-mri@{first}")[1] == folder
    refused("hf:ada/brain-mri@v9", "has no branch, tag or commit named v9; see http.*/datasets/ada/brain-mri/commits")
    refused("hf:ada/none", "There is no dataset ada/none that this token may read")
    loopback.create("ada/gated", "dataset", gated=True)
    refused("hf:ada/gated", "is gated: ask for access at http.*/datasets/ada/gated")
    loopback.fail("/api/datasets/ada/brain-mri", status=503)
    assert fetched("hf:ada/brain-mri@main")[1] == later
    assert "a fault of its own" in (said := capfd.readouterr().err) and "The copy fetched earlier" in said
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert fetched("hf:ada/brain-mri@main")[1] == later and fetched(f"hf:ada/brain-mri@{first}")[1] == folder
    refused("hf:ada/other", "cannot be reached for ada/other: no network", NoNetwork)


def test_hub_of_a_zip_and_no_room(
    loopback: LoopbackHub, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    loopback.create("ada/zip", "dataset")
    loopback.edit("ada/zip", {"data.zip": zipped(folders.parent / "made")}, "dataset")
    name, folder = fetched("hf:ada/zip")
    assert name == "zip" and names(folder) == names(folders)  # stepped into data/, where groups.csv lies
    assert fetched("hf:ada/zip") == (name, folder)
    monkeypatch.setattr(unpack, "MAX_UNPACKED", 1000)
    assert fetched("hf:ada/zip") == (name, folder)  # is there, so it needs none
    loopback.edit("ada/zip", {"more.zip": bytes(2000)}, "dataset")
    refused("hf:ada/zip", r"hf:ada/zip needs more than the 0\.0 GB")


# -- archives and addresses -------------------------------------------------------------------------------------------
def test_addresses(kaggle: LoopbackKaggle, folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    url = kaggle.file("brain.zip", zipped(folders))
    name, folder = fetched(f"{url}?key=secret")
    assert name == "brain" and names(folder) == names(folders)
    kaggle.stop()
    capfd.readouterr()
    assert fetched(f"{url}?key=secret") == (name, folder)
    assert "was fetched earlier" in (said := capfd.readouterr().err) and "secret" not in said


def test_addresses_as_people_paste_them(kaggle: LoopbackKaggle, folders: Path) -> None:
    kaggle.files["Brain%20Tumor%20%C3%A9.zip"] = zipped(folders)
    for address in ("Brain Tumor é.zip", "Brain%20Tumor%20%C3%A9.zip"):
        name, folder = fetched(f"{kaggle.url}/files/{address}")
        assert name == "Brain Tumor é" and names(folder) == names(folders)
    assert given("www.kaggle.com/datasets/a/b") == "www.kaggle.com/datasets/a/b" and given("kaggle/b") == Path(
        "kaggle/b"
    )


def test_an_archive_with_the_slashes_of_windows(tmp_path: Path, kaggle: LoopbackKaggle) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("glioma\\1.jpg", b"x")
        archive.writestr("notumor\\..\\..\\..\\2.jpg", b"x")
    assert names(fetched(tmp_path / "x.zip")[1]) == ["glioma/1.jpg", "notumor/2.jpg"]


def test_an_address_of_no_archive_leaves_nothing(kaggle: LoopbackKaggle, tmp_path: Path) -> None:
    refused(kaggle.file("x.zip", b"text"), r"^http://[^ ]*/files/x\.zip is no zip or tar file")
    assert not left(tmp_path / "cache")


def test_one_process_at_a_time_fetches(
    kaggle: LoopbackKaggle, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = kaggle.file("brain.zip", zipped(folders))
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(fetched, [url] * 4))
    assert len(found) == 1 and len(kaggle.log) == 1


def test_a_cache_that_cannot_be_written(kaggle: LoopbackKaggle, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    refused(kaggle.file("x.zip", b""), r"/cache could not be read or written \(File exists\)")


def test_archives_on_this_machine(kaggle: LoopbackKaggle, folders: Path, tmp_path: Path) -> None:
    (tmp_path / "slices.zip").write_bytes(zipped(folders))
    assert fetched(tmp_path / "slices.zip")[0] == "slices"
    assert names(fetched(str(tmp_path / "slices.zip"))[1]) == names(folders)
    assert fetched(folders) == ("made", folders) and fetched(tmp_path / "absent") == ("absent", tmp_path / "absent")
    assert not kaggle.log


def test_the_folder_in_an_archive_that_holds_the_data(tmp_path: Path) -> None:
    def made(*places: str) -> Path:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for place in places:
            (root / place).mkdir(parents=True)
        return root

    root = made("archive/Brain Set/glioma", "archive/Brain Set/notumor", "__MACOSX/x")
    assert inner(root) == root / "archive" / "Brain Set"
    root = made("brain_tumor_dataset/yes", "brain_tumor_dataset/no")
    assert inner(root) == root / "brain_tumor_dataset"
    for places in (["Training/glioma", "Training/notumor"], ["glioma/a", "glioma/b"], ["yes/a"], ["images/a"], ["x"]):
        root = made(*places)
        assert inner(root) == root


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("where", ["../../escaped.jpg", "/{root}/escaped.jpg"])
def test_members_lead_nowhere(kaggle: LoopbackKaggle, tmp_path: Path, kind: str, where: str) -> None:
    content, name = io.BytesIO(), where.format(root=tmp_path)
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(name, b"x")
    else:
        with tarfile.open(fileobj=content, mode="w") as packed:
            member = tarfile.TarInfo(name)
            member.size = 1
            packed.addfile(member, io.BytesIO(b"x"))
    try:
        fetched(kaggle.file("evil.zip", content.getvalue()))
    except DataError as error:
        assert "could not be unpacked" in str(error)
    outside = [path for path in tmp_path.rglob("escaped.jpg") if not path.is_relative_to(tmp_path / "cache")]
    assert not outside and not (tmp_path.parent / "escaped.jpg").exists()


def test_bombs_are_refused_before_they_are_written(
    kaggle: LoopbackKaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MAX_UNPACKED", 50_000_000)
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.nii", bytes(60_000_000))
    outside = io.BytesIO()
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("inner.zip", inside.getvalue())
    for content in (inside, outside):
        refused(kaggle.file("bomb.zip", content.getvalue()), r"needs more than the 0\.0 GB")
    monkeypatch.setattr(unpack, "MAX_FILES", 2)
    many = io.BytesIO()
    with tarfile.open(fileobj=many, mode="w:gz") as packed:
        for number in range(3):
            packed.addfile(tarfile.TarInfo(f"{number}.jpg"))
    refused(kaggle.file("many.tar.gz", many.getvalue()), "holds more than 2 files")
    assert not left(tmp_path / "cache")


def test_a_data_set_by_name_is_read_as_its_folder(
    kaggle: LoopbackKaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All the way: the table names the data set, not a version or a hash."""
    write_dataset(tmp_path / "drawn", per_class=4, size=64)
    url = kaggle.file("drawn-brains.zip", zipped(tmp_path / "drawn"))
    named = load_dataset([url], [url], size=64, cache=tmp_path / "cache", progress=False)
    direct = load_dataset([tmp_path / "drawn"], [tmp_path / "drawn"], size=64, cache=tmp_path / "cache", progress=False)
    assert set(named.table["origin"]) == {"drawn-brains"}
    assert named.fingerprint() == direct.fingerprint() and named.table["has_mask"].any()
    words = [url, "--masks", url, "--out", str(tmp_path / "audit"), "--cache", str(tmp_path / "cache"), "--quiet"]
    assert audit.main(words) == 0 and (tmp_path / "audit" / "figure.png").is_file()
    assert audit.main(["kaggle:ada", *words[3:]]) == 2
    assert "Error: 'kaggle:ada' is no name of a data set" in capsys.readouterr().err
