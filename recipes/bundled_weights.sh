#!/usr/bin/env bash
# Makes weights/ and the figures of README anew.
#   bash recipes/bundled_weights.sh [FOLDER [OUT]]
# FOLDER holds the six sources that are named below. Add --resume to the line of train.py after an interruption.
# Two of them (archive, lgg's masks) may not be used commercially and are to be shared alike: so are the weights.
set -euo pipefail
cd "$(dirname "$0")/.."
from=${1:-../shared/data}
out=${2:-runs/best}

# The weights of 29 November 2026 took 60 epochs of masks in three goes (docs/experiments.md); this does them in one.
python train.py --data "$from"/{brain-tumor-mri,heads,archive} --masks "$from"/{segmentation,lgg,web-outlines} \
  --split weights/split.csv --epochs 60 --joint-epochs 8 --refit --refit-epochs 6 --one-look --label-smoothing 0.02 --patience 0 \
  --out "$out" \
  --license cc-by-nc-sa-4.0 --datasets \
  "masoudnickparvar/brain-tumor-mri-dataset of Kaggle: figshare, SARTAJ and Br35H; licence as its page states" \
  "figshare-1512427 Jun Cheng et al., T1 with contrast medium and outlines, CC BY 4.0" \
  "TCGA-LGG outlined by Buda et al. 2019 (Kaggle lgg-mri-segmentation), CC BY-NC-SA 4.0; scans TCIA, CC BY 3.0" \
  "Br35H pictures of the web with outlines, licence not stated, for education" \
  "Ljubljana-MS open data of the University Medical Centre Ljubljana, heads with multiple sclerosis, CC BY 4.0" \
  "Brain-Tumor-MRI-Images-44-Classes of Kaggle: pictures of Radiopaedia, CC BY-NC-SA"
python -m brain_mri bundle "$out"  # without the files that show patients
