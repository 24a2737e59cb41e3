"""Synthetic brain slices with exact tumor masks: for tests, a first training run, and the examples of the page.

    python phantom.py OUT --per-class 40      # class folders, mask pairs and patients.csv that train.py can be run on
    python phantom.py OUT --examples          # a handful of files in several formats for the page

They are drawings that look like contrast-enhanced T1 slices; nothing about real scans follows from them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data.phantom_anatomy import Head
from brain_mri.data.phantom_tumors import place_tumor

PLANES = ("axial", "coronal", "sagittal")
HEAD_MM = 230.0  # width of the picture
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Phantom:
    """image uint8 (size, size); mask uint8 (size, size), 255 on the tumor; the class; the plane."""

    image: np.ndarray
    mask: np.ndarray
    label: str
    plane: str


def make_phantom(
    label: str,
    seed: int,
    size: int = 256,
    plane: str = "axial",
    *,
    height: float | None = None,
    slice_offset: float = 0.0,
) -> Phantom:
    """Draw a slice. The same arguments give the same bits.

    height: of an axial slice, -1 (skull base) .. 1 (vertex); by default chosen from the seed.
    slice_offset: distance from the middle of the tumor in head units (about 10 cm): neighbouring slices of one person.
    """
    if label not in CLASSES or plane not in PLANES:
        raise ValueError(f"label must be one of {CLASSES} and plane one of {PLANES}, not {label!r}, {plane!r}.")
    person = np.random.default_rng([seed, 1])
    middle = _height(label, plane, person) if height is None else height
    x, y = _grid(size, person)
    level = middle + (slice_offset if plane == "axial" else 0.3 * slice_offset)
    head = Head(seed, plane, level, x, y, 2 / size)
    tumor = None
    if label != NO_TUMOR:
        anchor = head if slice_offset == 0 else Head(seed, plane, middle, x, y, 2 / size)
        tumor = place_tumor(anchor, label, np.random.default_rng([seed, 3]), slice_offset)
    if tumor is not None and label != "pituitary":  # the mass pushes the brain aside
        push = 0.28 * np.exp(-((x - tumor.cx) ** 2 + (y - tumor.cy) ** 2) / (2 * (1.5 * tumor.radius) ** 2))
        head = Head(seed, plane, level, x - push * (x - tumor.cx), y - push * (y - tumor.cy), 2 / size)
    head.draw()
    mask = np.zeros((size, size), np.uint8) if tumor is None else tumor.draw(head)
    noise = np.random.default_rng([seed, 2, round(1000 * level) + 10_000])
    return Phantom(_finish(head.image, person, noise), mask, label, plane)


def make_volume(label: str, seed: int, size: int = 128, depth: int = 20) -> tuple[np.ndarray, np.ndarray, Spacing]:
    """(voxels uint8, mask bool, both (depth, size, size), (slice, row, column) mm): axial slices, feet to head."""
    middle = -0.6 if label == "pituitary" else 0.25
    levels = np.linspace(-0.65 if label == "pituitary" else -0.35, 0.85, depth)
    slices = [
        make_phantom(label, seed, size, height=middle, slice_offset=round(float(level) - middle, 4)) for level in levels
    ]
    pixel = HEAD_MM / size
    spacing = (float(levels[1] - levels[0]) * 100 if depth > 1 else pixel, pixel, pixel)
    return np.stack([p.image for p in slices]), np.stack([p.mask > 127 for p in slices]), spacing


def _height(label: str, plane: str, rng: np.random.Generator) -> float:
    base = rng.random() < 0.15
    value = rng.uniform(-0.15, 0.6)
    if plane == "axial" and (label == "pituitary" or base):
        return -0.6
    return value


def _grid(size: int, person: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Head coordinates of every pixel: the head a little turned, scaled and shifted."""
    angle = math.radians(person.uniform(-6, 6))
    scale = float(person.uniform(1.0, 1.18))
    dx, dy = (float(d) for d in person.uniform(-0.04, 0.04, 2))
    v, u = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) * (2 / size) - 1
    u, v = (u - dx) * scale, (v - dy) * scale
    c, s = math.cos(angle), math.sin(angle)
    return u * c + v * s, v * c - u * s


def _finish(image: np.ndarray, person: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Coil shading, blur, Rician noise and display gain -> uint8."""
    size = image.shape[0]
    cells = person.uniform(0.88, 1.12, (3, 3)).astype(np.float32)
    image = image * cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC) * float(person.uniform(0.85, 1.0))
    image = cv2.GaussianBlur(image, (0, 0), 0.55 * size / 256 + 0.15)
    sigma = float(person.uniform(2.0, 4.0))
    real, imaginary = sigma * noise.standard_normal((2, size, size), np.float32)
    return np.clip(np.hypot(image + real, imaginary) + 0.5, 0, 255).astype(np.uint8)


def write_dataset(root: str | Path, per_class: int = 40, seed: int = 0, masks: bool = True, size: int = 256) -> Path:
    """Write a data set as people have it on Drive, all of it synthetic; returns the root.

        Training/<class>/*.jpg  Testing/<class>/*.jpg   a fifth of the persons of each class is in Testing
        groups.csv                                      file,class,group,kind: which pictures show one person
        segmentation/images/*.png  masks/*.png          (masks=True) the tumor slices again, as in the real data sets;
        segmentation/patients.csv                       file,class,patient,fold    some class-folder copies are mirrored

    A person has four slices, neighbours in one or two planes. Raises OSError when something cannot be written.
    """
    root = Path(root)
    groups: list[tuple[object, ...]] = [("file", "class", "group", "kind")]
    patients: list[tuple[object, ...]] = [("file", "class", "patient", "fold")]
    for c, label in enumerate(CLASSES):
        for i in range(per_class):
            person, k = divmod(i, 4)
            patient = f"phantom-{label[:2]}{person:04d}"
            plane, offset = PLANES[(person + k // 3) % 3], 0.06 * ((k * 2) % 3 - 1) + 0.01 * k
            phantom = make_phantom(label, (seed * 4 + c) * 100_000 + person, size, plane, slice_offset=offset)
            last = 0 < person == (per_class - 1) // 4 < 5  # of few persons one is kept for testing
            split = "Testing" if person % 5 == 4 or last else "Training"
            file = f"{split}/{label}/{split[:2]}-{label[:2]}_{i:04d}.jpg"
            copy = phantom.image[:, ::-1] if masks and i % 3 == 2 else phantom.image
            _write(root / file, copy, [cv2.IMWRITE_JPEG_QUALITY, 92])
            groups.append((file, label, patient, "patient"))
            if masks and label != NO_TUMOR:
                number = f"{len(patients):04d}.png"
                _write(root / "segmentation" / "images" / number, phantom.image)
                _write(root / "segmentation" / "masks" / number, phantom.mask)
                patients.append((number, label, patient, person % 5 + 1))
    _write_csv(root / "groups.csv", groups)
    if masks:
        _write_csv(root / "segmentation" / "patients.csv", patients)
    return root


def example_files(folder: str | Path) -> list[Path]:
    """Write the examples of the page, a few formats and planes, and return their paths. All names say `synthetic`.

    The drawings are some that the bundled weights, which learned from scans only, take for what they are meant to be.
    """
    folder = Path(folder)
    _write(folder / "synthetic_glioma_coronal.png", make_phantom("glioma", 10, 320, "coronal").image)
    _write(folder / "synthetic_pituitary_axial.png", make_phantom("pituitary", 164, 320).image)
    deep = make_phantom("meningioma", 5, 320, "coronal").image.astype(np.uint16) * 13
    _write(folder / "synthetic_meningioma_coronal_16bit.png", deep)
    _write(
        folder / "synthetic_no_tumor_axial.jpg", make_phantom(NO_TUMOR, 12, 320).image, [cv2.IMWRITE_JPEG_QUALITY, 93]
    )
    write_dicom(folder / "synthetic_meningioma_axial.dcm", make_phantom("meningioma", 21, 256).image, HEAD_MM / 256)
    voxels, _, spacing = make_volume("glioma", 13)
    write_nifti(folder / "synthetic_glioma_volume.nii.gz", voxels, spacing)
    return sorted(folder.glob("synthetic_*"))


def write_nifti(path: Path, voxels: np.ndarray, spacing: Spacing) -> Path:
    """Write axial slices (D, H, W), front up and patient's right on the left, as NIfTI with that orientation."""
    slices, rows, columns = spacing
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([-columns, -rows, slices, 1.0]))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"synthetic phantom, no patient"
    data = image.to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.name.endswith(".gz") else data)
    return path


def write_dicom(path: Path, image: np.ndarray, spacing: float) -> Path:
    """Write an axial slice (H, W) as a 16-bit DICOM file with its pixel spacing (mm), and without window tags."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    uid = generate_uid(entropy_srcs=[path.name, image.tobytes().hex()])  # the same file for the same picture
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID = generate_uid(entropy_srcs=[uid])
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Synthetic^Phantom", "SYNTHETIC", "MR"
    dataset.ImageComments = "Synthetic phantom, no patient"
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-HEAD_MM / 2, -HEAD_MM / 2, 0]
    dataset.PixelSpacing, dataset.SliceThickness, dataset.InstanceNumber = [round(spacing, 6)] * 2, 5, 1
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = (image.astype(np.uint16) * 9).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _write(path: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image, options or [])
    if not done:
        raise OSError(f"{path.name} could not be encoded.")
    path.write_bytes(data.tobytes())


def _write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write synthetic brain slices with exact tumor masks.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--per-class", type=int, default=40, help="slices of each class (default 40)")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side (default 256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-masks", action="store_true", help="class folders only")
    parser.add_argument("--examples", action="store_true", help="a handful of example files instead of a data set")
    args = parser.parse_args(arguments)
    if args.per_class < 1 or not 32 <= args.size <= 1024 or args.seed < 0:
        parser.error("--per-class must be at least 1, --size 32..1024 and --seed not negative.")
    try:
        if args.examples:
            for path in example_files(args.out):
                print(path)
            return
        write_dataset(args.out, args.per_class, args.seed, not args.no_masks, args.size)
    except OSError as error:
        raise SystemExit(f"{args.out} could not be written ({error.strerror or error}).") from None
    print(f"{args.per_class} synthetic slices of each of {len(CLASSES)} classes are in {args.out}.")
    masks = "" if args.no_masks else f" --masks {args.out / 'segmentation'}"
    print(f"Train on them:  python train.py --data {args.out}{masks} --epochs 2 --out runs/phantom")


if __name__ == "__main__":
    main()
