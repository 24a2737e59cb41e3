#!/usr/bin/env bash
# Makes weights/ and the figures of README anew: about two hours of fitting on two CPU cores with AMX.
#   bash recipes/bundled_weights.sh [DATA [MASKS [OUT]]]
# DATA: class folders; MASKS: images/ and masks/. Add --resume to the line of train.py after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-../shared/data/brain-tumor-mri}
masks=${2:-../shared/data/segmentation}
out=${3:-runs/best}

# Three networks that answer together, each validated on patients of its own; that calibrates; then three more that
# learn from those patients, too (--refit).
python train.py --data "$data" --masks "$masks" --epochs 12 --joint-epochs 8 --label-smoothing 0.02 --patience 0 \
  --members 3 --refit --out "$out"
python -m brain_mri bundle "$out"  # without the files that show patients
