#!/usr/bin/env bash
# The usual student models on the same split, one after the other, and one table of their scores.
#   bash recipes/leaderboard.sh --data DIR --masks DIR --epochs 10       # options of train.py, the same for all
#   ONLY="gap_cnn unet" ALSO="weights" OUT=runs/board bash recipes/leaderboard.sh --data DIR --masks DIR --size 64
# ONLY: these architectures; ALSO: finished runs to stand beside them. Given again, the same command trains what is
# missing and resumes what was interrupted; a model that fails is named and left out. Every run has its log beside it.
set -uo pipefail
home=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH}
out=${OUT:-runs/leaderboard} table=(${FOLDS:+--folds} ${SOURCES:+--left-out}) failed=0 runs=() brief=()
mkdir -p "$out"

train() { # NAME OPTION...
  local folder=$out/$1 log=$out/$1.log resume=() words=(--out "$out/$1" --verbose 2 "${@:2}")
  if [[ -f $log && $(head -n 1 "$log") == "train.py ${words[*]}" ]]; then
    resume=(--resume) # only what the same command began
  else
    echo "train.py ${words[*]}" >"$log"
  fi
  echo "$folder (log: $log)"
  if [[ (${#resume[@]} -gt 0 && -f $folder/config.json) ]] ||
    ${TRAIN:-python "$home/train.py"} "${words[@]}" "${brief[@]}" "${resume[@]}" >>"$log" 2>&1; then
    runs+=("$folder")
    [[ -n ${FOLDS:-} ]] || brief=(--brief) # baselines are measured once
  else
    echo "$1: $(tail -n 1 "$log")" >&2
    failed=1
  fi
}

for fold in ${FOLDS:-}; do
  train "fold$fold" --fold "$fold" "$@"
done
for source in ${SOURCES:-}; do
  train "without-${source//,/-}" --leave-out ${source//,/ } "$@"
done
[[ -n ${FOLDS:-}${SOURCES:-} ]] || for name in ${ONLY-guided gap_cnn flatten_cnn resnet vgg16 efficientnet resunet unet}; do
  case $name in
  guided) train "$name" --classifier guided --segmenter shared "$@" ;;
  resunet | unet)
    if [[ " $* " == *" --masks "* ]]; then
      train "$name" --classifier gap_cnn --segmenter "$name" "$@"
    else
      echo "Without --masks there is nothing to teach $name." >&2
    fi
    ;;
  *) train "$name" --classifier "$name" --segmenter kmeans "$@" ;;
  esac
done
[[ ${#runs[@]} -gt 0 ]] || exit 1
python -m brain_mri compare "${runs[@]}" ${ALSO:-} "${table[@]}" --out "$out" && exit "$failed"
