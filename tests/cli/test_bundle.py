"""A run is copied without what shows patients, as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

from brain_mri.artifact.examples import put_examples
from brain_mri.artifact.folder import load_artifact, new_artifact
from brain_mri.cli import bundle


def test_a_bundle_leaves_out_what_shows_patients(tmp_path: Path) -> None:

    source = load_artifact(Path(__file__).resolve().parents[2] / "weights")
    run, config = tmp_path / "run", source.config
    with new_artifact(run, config) as folder:
        for name in ("classifier.onnx", "metrics.json"):
            (folder / name).write_bytes((source.folder / name).read_bytes())
        (folder / "figures").mkdir()
        for name in ("figures/cases.png", "figures/roc.png", "report.html"):
            (folder / name).write_bytes(b"a picture")
    put_examples(run, {"glioma_1.png": b"a slice"}, "CC BY 4.0", "Drawn at random.")
    assert bundle.main([str(run), "--out", str(tmp_path / "weights"), "--name", "mine"]) == 0
    copied = load_artifact(tmp_path / "weights")
    assert copied.config.name == "mine" and "figures/roc.png" in copied.config.files
    assert not [path for path in copied.folder.rglob("*") if path.name in ("cases.png", "report.html", "glioma_1.png")]
    assert "## Examples" not in (copied.folder / "README.md").read_text()
    assert bundle.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "weights")]) == 1
    assert load_artifact(tmp_path / "weights").config == copied.config
