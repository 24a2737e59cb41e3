"""Analyse many scans: files, folders, archives or patterns in; one table, overlays and masks out.

    python -m brain_mri predict --out results scans/                 # the bundled model, every picture below scans/
    python -m brain_mri predict --model user/name@v1 --out results "day1/*.dcm" extra.png
    python -m brain_mri predict --out results --heatmaps --threads 2 scans/

Writes to OUT: predictions.csv (one row a file, in order; a file that cannot be read is a row with its reason),
predictions.json (the same, with the model's particulars), overlays/*.png, masks/*.png (255 = tumor) and, when asked
for, heatmaps/*.png. A volume (NIfTI, multi-frame, animated picture, archive; the DICOM files of one series in a folder)
is one row, and all of its slices are analysed: the answer, the slices it is marked on, mL; its mask is
masks/*.nii.gz, its pictures are of the slice with the largest mark. --slices adds predictions_slices.csv, a row for
each slice. --patients adds predictions_patients.csv, a row for each patient: the highest slice, the share of slices
that are called a tumor, the largest volume. Whose a file is says the outermost folder that is no plane, sequence or
class (--patients folder), or a CSV with the columns file and patient, whose others are kept. --dicom-seg adds
dicom_segs/*.dcm for what is DICOM: the mask as hospital viewers take it, which names the patient as the scan does; but
for --patients nothing else of the results does. The tables appear when they are complete; until then the rows so far
are in *.partial.*. The same command again, after a kill or Ctrl-C, keeps them and goes on from there.

--cluster ADDRESS hands the files to the workers of a Dask cluster (docs/scale.md): tcp://host:8786, a scheduler file,
or "local" for worker processes here, --threads of them. Files and --out are then on a disk that all machines see, or
addresses such as s3://bucket/scans and hf://datasets/user/name. The table is OUT/predictions.parquet, a folder of
parts; the same command again keeps those that are there.

Exit status: 0 every file was analysed, 1 some could not be, 2 none could be or the run could not start or go on.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import BUNDLED
from brain_mri.artifact.hub_client import HubError
from brain_mri.imaging.scan import ScanError, clean_name
from brain_mri.inference.batch import PICTURES, SEG, to_folder
from brain_mri.inference.cohort import Done, chunks, is_address
from brain_mri.inference.jobs import BatchError, find, named
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.patients import PatientTable, Whose, read_patients
from brain_mri.inference.predictor import Predictor

FOLDER = "folder"  # of --patients


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be anything
    pictures: tuple[str, ...] = () if args.table_only else (*PICTURES, "heatmap") if args.heatmaps else PICTURES
    pictures += (SEG,) if args.dicom_seg else ()
    try:
        if args.dicom_seg:
            from brain_mri.imaging import dicom_seg  # pydicom, only when needed

            dicom_seg.require()
        return (on_cluster if args.cluster else here)(args, pictures)
    except (ArtifactError, BatchError, HubError, ScanError) as error:
        print(f"predict: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        where = "predictions.partial.parquet" if args.cluster else "predictions.partial.csv"
        print(f"\nStopped; the rows so far are in {os.path.join(args.out, where)}.", file=sys.stderr)
    return 2


def here(args: argparse.Namespace, pictures: tuple[str, ...]) -> int:
    """Analyse all in this process. Returns the exit status."""
    out = Path(args.out)
    if far := next((text for text in (*args.inputs, args.out) if is_address(text)), ""):
        raise BatchError(f"{far} is an address; --cluster local reads and writes those, too.")
    paths = find(args.inputs, out)
    whose = whose_of(args.patients, paths)
    # One thread inside the models: the cores are busy with whole files.
    model = Predictor.load(args.model, threads=1 if args.threads > 1 else None)
    patients = PatientTable(model.classes, model.abstain_below, whose) if whose else None
    rows = to_folder(
        model, named(paths), out, pictures=pictures, threads=args.threads, slices=args.slices, patients=patients
    )
    done = (
        Done(row.files, row.files * bool(row.error), not row.error and SEG not in row.result, row.kept) for row in rows
    )
    return told(args, done, len(paths), model, "predictions.csv", patients)


def on_cluster(args: argparse.Namespace, pictures: tuple[str, ...]) -> int:
    """Hand all to the workers of a Dask cluster. Returns the exit status."""
    from brain_mri.inference import cluster, parts  # Dask and Arrow, only when asked for

    found = chunks(args.inputs, args.out)
    model = Predictor.load(args.model)
    order = parts.order(model, args.model, args.out, pictures=pictures, slices=args.slices)
    names = [name for chunk in found for name in chunk.files]
    whose = whose_of(args.patients, [Path(order.shown(name)) for name in names])
    patients = PatientTable(model.classes, model.abstain_below, whose) if whose else None
    with cluster.connected(args.cluster, args.threads) as client:
        print(f"{len(found)} chunks of {len(names)} files; dashboard: {client.dashboard_link}", flush=True)
        if not client.nthreads():
            print("No worker has joined yet; the first one that does begins.", flush=True)
        done = cluster.to_parts(client, order, found, patients)
        return told(args, done, len(names), model, "predictions.parquet", patients)


def told(
    args: argparse.Namespace,
    done: Iterable[Done],
    total: int,
    model: Predictor,
    table: str,
    patients: PatientTable | None,
) -> int:
    """Show how far it is, and say what came of it. Returns the exit status."""
    files = failed = kept = bare = 0
    with tqdm(total=total, unit="file", disable=None) as bar:  # silent when the output is no terminal
        for one in done:
            files += one.files
            failed += one.failed
            kept += one.files * one.kept
            bare += one.bare
            bar.update(one.files)
    if kept:
        print(f"{kept} of {files} files had been analysed before the run was stopped; their rows are kept.")
    path = os.path.join(args.out, table)
    print(f"{files - failed} of {files} files analysed by {model.model_id} ({model.revision}): {path}")
    if args.dicom_seg and bare:
        print(f"Rows without a DICOM-SEG: {bare}; they are no DICOM, or their warnings say what is missing.")
    if patients:
        print(said_of(patients, args.out))
    return 0 if not failed else 1 if failed < files else 2


def whose_of(asked: str, paths: Sequence[Path]) -> Whose | None:
    """Whose each file is; None where that is not asked. Raises BatchError."""
    if not asked:
        return None
    if asked != FOLDER:
        return read_patients(Path(asked), paths)
    from brain_mri.data.folders import patient_folders  # pandas, only when needed

    top = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    found = patient_folders([path.absolute().parent.relative_to(top).parts for path in paths])
    if not any(found):  # those of one patient
        found = [clean_name(top.name)] * len(paths)
    known = dict(zip(paths, found, strict=True))
    return Whose(lambda job: known.get(job.paths[0], ""))


def said_of(patients: PatientTable, out: str) -> str:
    count = patients.count
    said = f"{count} patient{'s' * (count != 1)}: {os.path.join(out, 'predictions_patients.csv')}"
    return "; ".join(filter(None, (said, patients.left_out)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="FILE|FOLDER|PATTERN", help="folders are searched to the bottom")
    add("--model", default=str(BUNDLED), help="artifact folder or user/name[@revision] (default: the bundled model)")
    add("--out", required=True, help="folder for the results")
    add("--heatmaps", action="store_true", help="also write Grad-CAM pictures")
    add("--dicom-seg", action="store_true", help="also write masks as DICOM-SEG, with the patient's name (highdicom)")
    add("--slices", action="store_true", help="also write a row for each slice of a volume")
    add("--patients", default="", metavar="folder|CSV", help="also write a row for each patient")
    add("--table-only", action="store_true", help="write no pictures")
    add("--cluster", default="", metavar="ADDRESS", help="of a Dask cluster that does the work, or local")
    add("--threads", type=int, default=cores(), help="files worked on at once (default: all cores)")
    args = parser.parse_args(arguments)
    if args.threads < 1:
        parser.error("--threads must be at least 1.")
    return args
