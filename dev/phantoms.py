"""How a model answers drawn slices of every class and plane, and the example files of the page drawn anew.

    python -m dev.phantoms                    # 40 slices a class, a table
    python -m dev.phantoms --draw             # writes assets/examples/ and says how the model answers each

The shares tell whether the drawings look like scans to a model that has never seen a drawing. The seeds of the examples
are among the first two dozen of their class and plane, most of which are answered rightly; of PNG files one that the
model takes for T1 with contrast medium, as it is drawn.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from brain_mri import Predictor, read_scan
from brain_mri.classes import CLASSES
from brain_mri.data.phantom import PLANES, Phantom, make_phantom
from brain_mri.imaging.scan import Scan
from brain_mri.inference.analysis import Analysis
from segmentation import dice
from tests.helpers.files import HEAD_MM, make_volume, write_nifti

EXAMPLES = Path(__file__).resolve().parent.parent / "assets" / "examples"
SLICES = {  # file: class, seed, pixels, plane
    "synthetic_glioma_coronal.png": ("glioma", 10, 320, "coronal"),
    "synthetic_meningioma_axial.dcm": ("meningioma", 21, 256, "axial"),
    "synthetic_meningioma_coronal_16bit.png": ("meningioma", 3, 320, "coronal"),
    "synthetic_no_tumor_axial.jpg": ("notumor", 4, 320, "axial"),
    "synthetic_pituitary_axial.png": ("pituitary", 11, 320, "axial"),
}
VOLUME = "synthetic_glioma_volume.nii.gz"
VOLUME_SEED = 0


def drawn(file: str) -> Phantom:
    """The slice of an example; of the volume, the one that is shown first (slice 9 of 20, without its neighbours)."""
    return make_phantom(*SLICES[file])


def stored(file: str, image: np.ndarray) -> bytes:
    """uint8 (H, W) in the format that the name of the file says."""
    if file.endswith(".dcm"):
        return dicom(image)
    if "16bit" in file:
        image = image.astype(np.uint16) * 13
    return cv2.imencode(Path(file).suffix, image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def dicom(image: np.ndarray) -> bytes:
    """12 of 16 bits, with what a slice of a scanner states of its place and sequence, and no patient."""
    own, study, series, place = (generate_uid(entropy_srcs=["synthetic phantom", part]) for part in "abcd")
    pixel = round(HEAD_MM / len(image), 6)
    tags = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": own,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": place,
        "Modality": "MR",
        "PatientName": "Synthetic^Phantom",
        "PatientID": "SYNTHETIC",
        "ImageComments": "Synthetic phantom, no patient",
        "ContrastBolusAgent": "drawn",  # the picture imitates T1 with contrast medium
        "ScanningSequence": "SE",
        "SequenceVariant": "NONE",
        "RepetitionTime": "500",
        "EchoTime": "10",
        "SliceThickness": "5.0",
        "InstanceNumber": "1",
        "ImagePositionPatient": [-HEAD_MM / 2, -HEAD_MM / 2, 0.0],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "PixelSpacing": [pixel, pixel],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": (image.astype("<u2") * 9).tobytes(),
    }
    unsaid = "PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName"
    data = pydicom.Dataset()
    for key, value in (dict.fromkeys(unsaid.split(), "") | tags).items():
        setattr(data, key, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def draw_examples(folder: Path = EXAMPLES) -> None:
    for file in SLICES:
        (folder / file).write_bytes(stored(file, drawn(file).image))
    voxels, _, spacing = make_volume("glioma", VOLUME_SEED)
    write_nifti(folder / VOLUME, voxels, spacing)


def right(answer: Analysis, truth: Phantom) -> tuple[bool, float]:
    """Is the drawn class named, and surely? And Dice with the drawn lesion, nan without one."""
    found = dice(answer.mask, truth.mask > 127) if truth.mask.any() else float("nan")
    return answer.label == truth.label and not answer.abstained, found


def table(model: Predictor, per_class: int, seed: int) -> list[str]:
    """A line a class, and within it a line a plane."""
    lines = [f"{'':<24} right  not sure  sure and wrong  Dice  Dice >= .7"]
    for c, label in enumerate(CLASSES):
        rows: list[tuple[str, bool, bool, float]] = []
        for i in range(per_class):
            truth = make_phantom(label, seed + 100 * c + i, 256, PLANES[i % 3])
            answer = model.analyze(Scan(truth.image, truth.image))
            rows.append((truth.plane, *(right(answer, truth)[0], answer.abstained), right(answer, truth)[1]))
        for name, choose in [(label, lambda _: True), *((f"  {p}", p.__eq__) for p in PLANES)]:
            lines.append(f"{name:<24} {summary([row for row in rows if choose(row[0])])}")
    return lines


def summary(rows: list[tuple[str, bool, bool, float]]) -> str:
    sure, unsure, overlap = (np.array([row[k] for row in rows], float) for k in (1, 2, 3))
    wrong = 1 - sure - unsure
    masks = "" if np.isnan(overlap).any() else f"  {overlap.mean():.2f}  {(overlap >= 0.7).mean():10.2f}"
    return f"{sure.mean():5.2f}  {unsure.mean():8.2f}  {wrong.mean():14.2f}{masks}"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="weights")
    p.add_argument("--per-class", type=int, default=40)
    p.add_argument("--seed", type=int, default=5000)
    p.add_argument("--draw", action="store_true", help="draw the examples anew and stop")
    args = p.parse_args()
    model = Predictor.load(args.model)
    if not args.draw:
        print("\n".join(table(model, args.per_class, args.seed)))
        return
    draw_examples()
    for file in SLICES:
        answer = model.analyze(read_scan(EXAMPLES / file))
        said, overlap = right(answer, drawn(file))
        word = "right" if said else "WRONG"
        print(f"{file:<40} {word} {answer.confidence:.2f}  Dice {overlap:.2f}", *answer.warnings)


if __name__ == "__main__":
    main()
