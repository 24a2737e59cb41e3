"""The page as a server: named endpoints, errors as sentences, many callers at once."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import nibabel
import numpy as np
import pydicom
import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from brain_mri.ui.common import label_of
from brain_mri.ui.page import build_interface
from tests.helpers.files import EXAMPLES, make_volume, of_a_patient, series, write_nifti

ENDPOINTS = {"/analyze", "/segment", "/heatmap", "/report", "/volume", "/batch", "/model"}


@pytest.fixture(scope="module")
def server(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, the folder of Gradio's temporary files) of a running page."""
    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        page = build_interface(predictor)
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
        yield url, folder
        page.close()


@pytest.fixture(scope="module")
def client(server: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(server[0], verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def samples() -> dict[str, Path]:
    return {path.name: path for path in EXAMPLES}


def picture(path: str | Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None and Path(path).suffix == ".png", path
    return image


# --- endpoints -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["glioma_coronal.png", "16bit.png", "axial.jpg", ".dcm", ".nii.gz"])
def test_analyze_answers_as_the_predictor_does(
    client: Client, predictor: Predictor, samples: dict[str, Path], kind: str
) -> None:
    path = next(p for name, p in samples.items() if name.endswith(kind))
    result, overlay, heatmap = client.predict(handle_file(path), None, None, api_name="/analyze")
    own = predictor.analyze(read_scan(path))
    assert result["label"] == own.label and result["revision"] == predictor.revision
    assert result["probabilities"] == pytest.approx(own.probabilities)
    assert result["tumor_pixels"] == own.measures.pixels
    assert picture(overlay).shape == picture(heatmap).shape == (*own.image.shape, 3)
    assert "not a diagnosis" in result["disclaimer"]


def test_sixteen_bit_pictures_are_not_saturated(client: Client, samples: dict[str, Path]) -> None:
    path = next(p for name, p in samples.items() if "16bit" in name)
    _, overlay, _ = client.predict(handle_file(path), None, None, api_name="/analyze")
    assert (picture(overlay) == 255).mean() < 0.1 and picture(overlay).std() > 20


def test_segment_threshold_and_method(client: Client, predictor: Predictor, phantom_png) -> None:
    path = phantom_png("meningioma", 21)
    sizes = []
    for threshold in (0.1, None, 0.9):
        data, mask = client.predict(scan=handle_file(path), threshold=threshold, api_name="/segment")
        assert set(np.unique(picture(mask))) <= {0, 255} and np.count_nonzero(picture(mask)) == data["tumor_pixels"]
        sizes.append(data["tumor_pixels"])
    assert sizes[0] >= sizes[1] >= sizes[2] and sizes[0] > sizes[2]
    data, mask = client.predict(scan=handle_file(path), method="kmeans", api_name="/segment")
    own = predictor.analyze(read_scan(path))
    assert np.array_equal(picture(mask) > 0, own.kmeans()) and data["method"] == "kmeans"


def test_heatmap_of_another_class_differs(client: Client, phantom_png) -> None:
    path = phantom_png("meningioma", 21)
    maps = [
        picture(client.predict(scan=handle_file(path), label=name, api_name="/heatmap"))
        for name in ("pituitary", "glioma")
    ]
    assert not np.array_equal(maps[0], maps[1])


def test_report_endpoint_gives_three_files(client: Client, phantom_png) -> None:
    files = client.predict(scan=handle_file(phantom_png("glioma", 1)), api_name="/report")
    assert [Path(f).name.rpartition("_")[2] for f in files] == ["report.html", "result.json", "mask.png"]
    assert json.loads(Path(files[1]).read_text())["disclaimer"]


def test_volume_endpoint_keeps_the_geometry(client: Client, samples: dict[str, Path]) -> None:
    path = next(p for name, p in samples.items() if name.endswith(".nii.gz"))
    data, files = client.predict([handle_file(path)], api_name="/volume")
    mask = nibabel.Nifti1Image.from_filename(next(f for f in files if f.endswith(".nii.gz")))
    given = nibabel.Nifti1Image.from_filename(path)
    assert mask.shape == given.shape and np.allclose(np.asarray(mask.affine), np.asarray(given.affine))
    spacing = given.header.get_zooms()
    assert data["volume_ml"] == pytest.approx(np.count_nonzero(mask.get_fdata()) * np.prod(spacing) / 1000, rel=1e-3)
    assert len(data["per_slice"]) == data["slices"]


def test_batch_endpoint_keeps_bad_files_as_rows(client: Client, phantom_png, tmp_path: Path) -> None:
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    data, files = client.predict([handle_file(phantom_png("glioma", 1)), handle_file(bad)], api_name="/batch")
    assert "label" in data["rows"][0] and "none of the formats" in data["rows"][1]["error"]
    assert {Path(f).name for f in files} == {"results.csv", "results.zip"}


def test_a_table_of_patients_in_a_batch(client: Client, phantom_png, tmp_path: Path) -> None:
    table, scans = tmp_path / "who.csv", [phantom_png("meningioma", 5), phantom_png("notumor", 3)]
    table.write_text("file,patient,sex\n" + "".join(f"{scan.name},P1,F\n" for scan in scans))
    data, files = client.predict([handle_file(path) for path in (*scans, table)], api_name="/batch")
    assert len(data["rows"]) == 2 and {Path(f).name for f in files} >= {"results_patients.csv"}
    (line,) = data["patients"]
    assert (line["patient"], line["slices"], line["tumor_slices"], line["sex"]) == ("P1", 2, 1, "F")
    table.write_text("file\n")
    with pytest.raises(AppError, match="needs the columns file and patient"):
        client.predict([handle_file(path) for path in (*scans, table)], api_name="/batch")


def test_a_volume_is_one_row_of_a_batch(client: Client, samples: dict[str, Path], phantom_png) -> None:
    path = next(p for name, p in samples.items() if name.endswith(".nii.gz"))
    given = [handle_file(path), handle_file(phantom_png("glioma", 1))]
    data, files = client.predict(given, True, api_name="/batch")
    alone, _ = client.predict([handle_file(path)], api_name="/volume")
    volume, picture_row = data["rows"]
    assert {key: volume[key] for key in alone} == alone and len(volume["per_slice"]) == alone["slices"]
    assert re.fullmatch(rf"slice \d+ of {alone['slices']}", volume["shown"])
    assert volume["mask"].endswith(".nii.gz") and "slices" not in picture_row
    assert {Path(f).name for f in files} == {"results.csv", "results_slices.csv", "results.zip"}


def test_one_slice_of_a_volume_is_named(client: Client, samples: dict[str, Path], phantom_png) -> None:
    path = next(p for name, p in samples.items() if name.endswith(".nii.gz"))
    count = len(read_volume(path))
    named = rf"slice \d+ of {count}"
    result, *_ = client.predict(handle_file(path), None, None, api_name="/analyze")
    assert re.fullmatch(named, result["slice"]) and any(re.search(named, text) for text in result["warnings"])
    result, *_ = client.predict(handle_file(path), 3, None, api_name="/analyze")
    assert result["slice"] == f"slice 4 of {count}"
    assert client.predict(scan=handle_file(path), slice_index=3, api_name="/segment")[0]["slice"] == result["slice"]
    assert client.predict(handle_file(phantom_png("glioma", 1)), None, None, api_name="/analyze")[0]["slice"] is None


def test_another_volume_of_an_upload_can_be_chosen(client: Client, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "subject.zip", "w") as bundle:
        for name, seed in (("x_flair.nii.gz", 5), ("x_t1ce.nii.gz", 9)):
            voxels, _, spacing = make_volume("meningioma", seed, depth=6)
            bundle.write(write_nifti(tmp_path / name, voxels, spacing), name)
    given = [handle_file(tmp_path / "subject.zip")]
    first, files = client.predict(given, names=True, api_name="/volume")
    assert first["choice"] == "x_t1ce.nii.gz" and [c["chosen"] for c in first["choices"]].count(True) == 1
    assert any(Path(f).name == "subject_x_t1ce_mask.nii.gz" for f in files)
    key = next(c["key"] for c in first["choices"] if not c["chosen"])
    assert client.predict(given, key, True, api_name="/volume")[0]["choice"] == "x_flair.nii.gz"
    unnamed, _ = client.predict(given, api_name="/volume")
    assert [c["title"] for c in unnamed["choices"]] == ["volume 1: FLAIR", "volume 2: T1 with contrast medium"]
    assert client.predict(given, "volume 1: FLAIR", api_name="/volume")[0]["choice"] == "volume 1: FLAIR"
    with pytest.raises(AppError, match=r"subject\.zip holds no volume nonsense"):
        client.predict(given, "nonsense", True, api_name="/volume")


def test_dicom_seg_where_it_is_asked_for(client: Client, phantom_png, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    stack = make_volume("meningioma", 5)[0][8:12]
    paths = [tmp_path / f"DOE_JANE_{i}.dcm" for i in range(4)]
    for path, data in zip(paths, series(stack, **of_a_patient()), strict=True):
        path.write_bytes(data)
    given = [handle_file(path) for path in paths]
    files = client.predict(scan=given[2], dicom_seg=True, api_name="/report")
    assert len(files) == 4 and re.fullmatch(r"scan-[0-9a-f]{10}_mask\.dcm", Path(files[-1]).name)
    pixels = json.loads(Path(files[1]).read_text())["tumor_pixels"]
    made = pydicom.dcmread(files[-1])
    assert made.pixel_array.sum() == pixels > 0 and made.PatientName == "Doe^Jane"
    lower = client.predict(scan=given[2], threshold=0.05, dicom_seg=True, api_name="/report")
    assert pydicom.dcmread(lower[-1]).pixel_array.sum() > pixels
    data, files = client.predict(given, dicom_seg=True, api_name="/volume")
    mask = nibabel.Nifti1Image.from_filename(next(f for f in files if f.endswith(".nii.gz")))
    made = pydicom.dcmread(next(f for f in files if f.endswith(".dcm")))
    assert made.pixel_array.sum() == np.count_nonzero(mask.get_fdata()) > 0
    data, files = client.predict(given, dicom_seg=True, api_name="/batch")
    with zipfile.ZipFile(next(f for f in files if f.endswith(".zip"))) as bundle:
        assert data["rows"][0]["dicom_seg"] in bundle.namelist()
    _, files = client.predict(given, api_name="/volume")
    assert not any(f.endswith(".dcm") for f in files)
    with pytest.raises(AppError, match="is no DICOM file"):
        client.predict(scan=handle_file(phantom_png("glioma", 1)), dicom_seg=True, api_name="/report")


def test_model_endpoint(client: Client, predictor: Predictor) -> None:
    data = client.predict(api_name="/model")
    assert data["revision"] == predictor.revision and data["classes"] == list(predictor.classes)


def test_exactly_these_endpoints_are_public_and_documented(client: Client, server: tuple[str, Path]) -> None:
    info = client.view_api(return_format="dict", print_info=False)
    assert set(info["named_endpoints"]) == ENDPOINTS and not info["unnamed_endpoints"]
    for name, endpoint in info["named_endpoints"].items():
        assert endpoint.get("description"), name
        for part in (*endpoint["parameters"], *endpoint["returns"]):
            assert part["label"] and part["python_type"]["type"], (name, part)


def test_curl_way(server: tuple[str, Path], phantom_png, predictor: Predictor) -> None:
    """The three requests of the README's curl example, without the client library."""
    url, path = server[0].rstrip("/"), phantom_png("meningioma", 21)
    uploaded = httpx.post(f"{url}/gradio_api/upload", files={"files": path.read_bytes()}, timeout=60).json()[0]
    body = {"data": [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, None, None]}
    event = httpx.post(f"{url}/gradio_api/call/analyze", json=body, timeout=60).json()["event_id"]
    answer = httpx.get(f"{url}/gradio_api/call/analyze/{event}", timeout=60).text
    data = json.loads(answer.split("event: complete\ndata: ")[1].split("\n")[0])
    assert data[0]["label"] == predictor.analyze(read_scan(path)).label


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "change", "sentence"),
    [
        ("/analyze", {"scan": "text"}, "none of the formats"),
        ("/analyze", {"slice_index": 99}, "99"),
        ("/analyze", {"scan": None}, "No file was given"),
        ("/analyze", {"model": "/etc"}, "There is no model /etc here"),
        ("/segment", {"threshold": 3}, "between 0 and 1"),
        ("/heatmap", {"opacity": -1}, "between 0 and 1"),
    ],
)
def test_errors_are_sentences(
    client: Client, phantom_png, tmp_path: Path, endpoint: str, change: dict[str, Any], sentence: str
) -> None:
    text = tmp_path / "letter.png"
    text.write_text("dear doctor")
    values = {"scan": phantom_png("glioma", 1)} | change
    scan = text if values["scan"] == "text" else values["scan"]
    values["scan"] = handle_file(scan) if scan else None
    with pytest.raises(AppError) as error:
        client.predict(**values, api_name=endpoint)
    assert sentence in str(error.value) and "Traceback" not in str(error.value)


def test_files_of_the_server_cannot_be_read(server: tuple[str, Path], phantom_png) -> None:
    url = server[0].rstrip("/")
    body = {"data": [{"path": str(phantom_png("glioma", 1)), "meta": {"_type": "gradio.FileData"}}, None, None]}
    event = httpx.post(f"{url}/gradio_api/call/analyze", json=body, timeout=60).json()["event_id"]
    answer = httpx.get(f"{url}/gradio_api/call/analyze/{event}", timeout=60).text
    assert "event: error" in answer and "glioma" not in answer


# --- privacy, many at once -------------------------------------------------------------------------------------


def test_downloads_lie_where_gradio_deletes_them(client: Client, phantom_png) -> None:
    client.predict(scan=handle_file(phantom_png("glioma", 1)), api_name="/report")
    assert list(Path(get_upload_folder()).rglob(f"{label_of(phantom_png('glioma', 1))}_report.html"))


@pytest.mark.slow
def test_thirty_callers_at_once(server: tuple[str, Path], predictor: Predictor, phantom_png) -> None:
    jobs = [(label, seed) for seed in range(5) for label in ("glioma", "meningioma", "notumor", "pituitary")] * 2
    expected = {job: predictor.analyze(read_scan(phantom_png(*job))) for job in set(jobs)}

    def call(job: tuple[str, int]) -> dict[str, Any]:
        own = Client(server[0], verbose=False, download_files=False, httpx_kwargs={"timeout": 120})
        return own.predict(handle_file(phantom_png(*job)), None, None, api_name="/analyze")[0]

    with ThreadPoolExecutor(30) as pool:
        for job, result in zip(jobs[:30], pool.map(call, jobs[:30]), strict=True):
            assert result["probabilities"] == pytest.approx(expected[job].probabilities, abs=1e-5)
            assert result["tumor_pixels"] == expected[job].measures.pixels
            assert result["name"] == label_of(phantom_png(*job))
