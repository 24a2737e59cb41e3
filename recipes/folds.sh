#!/usr/bin/env bash
# Cross-validation over five patient-disjoint folds: every score of each, their mean and standard deviation.
#   bash recipes/folds.sh --data DIR --masks DIR --epochs 10       # options of train.py
#   FOLDS="0 1 2" OUT=runs/three bash recipes/folds.sh --data DIR
FOLDS=${FOLDS:-0 1 2 3 4} OUT=${OUT:-runs/folds} exec bash "$(dirname "$0")/leaderboard.sh" "$@"
