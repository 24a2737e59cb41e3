#!/usr/bin/env bash
# The usual student models on the same split, one after the other, and one table of their scores.
#   bash recipes/leaderboard.sh --data DIR --masks DIR --epochs 10       # options of train.py, the same for all
#   ONLY="gap_cnn unet" ALSO="weights" OUT=runs/board bash recipes/leaderboard.sh --data DIR --masks DIR --size 64
# ONLY: these architectures; ALSO: finished runs to stand beside them. Given again, the same command trains what is
# missing and resumes what was interrupted; a model that fails is named and left out. Every run has its log beside it.
# --cluster ADDRESS: the workers of a Dask cluster train them, as many at once as there are (docs/scale.md).
set -uo pipefail
home=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH}
out=${OUT:-runs/leaderboard} table=(${FOLDS:+--folds} ${SOURCES:+--left-out}) failed=0 runs=() brief=()
program=(${TRAIN:-python "$home/train.py"}) cluster='' options=() names=()
while [[ $# -gt 0 ]]; do
  case $1 in
  --cluster | --cluster=*)
    [[ $1 == *=* ]] || shift
    cluster=${1-} cluster=${cluster#--cluster=}
    [[ -n $cluster ]] || { echo "--cluster needs the address of a scheduler." >&2 && exit 2; }
    program=(python -m brain_mri remote "$cluster" "${TRAIN:-train.py}")
    trap 'trap - INT TERM; kill "${!names[@]}"; wait; exit 130' INT TERM # what is in the background does not hear Ctrl-C
    ;;
  *) options+=("$1") ;;
  esac
  shift
done
set -- "${options[@]}"
mkdir -p "$out"

train() { # NAME OPTION...
  local folder=$out/$1 log=$out/$1.log resume=() words=(--out "$out/$1" --verbose 2 "${@:2}")
  if [[ -f $log && $(head -n 1 "$log") == "train.py ${words[*]}" ]]; then
    resume=(--resume) # only what the same command began
  else
    echo "train.py ${words[*]}" >"$log"
  fi
  echo "$folder (log: $log)"
  local command=("${program[@]}" "${words[@]}" "${brief[@]}" "${resume[@]}")
  [[ ${#resume[@]} -eq 0 || ! -f $folder/config.json ]] || command=(true)
  if [[ -n $cluster ]]; then
    "${command[@]}" >>"$log" 2>&1 &
    names[$!]=$1
    [[ -n ${FOLDS:-} ]] || brief=(--brief)
  else
    "${command[@]}" >>"$log" 2>&1
    ended "$1" $?
  fi
}

ended() { # NAME STATUS
  if [[ $2 -eq 0 ]]; then
    runs+=("$out/$1")
    [[ -n ${FOLDS:-} ]] || brief=(--brief) # baselines are measured once
  else
    echo "$1: $(tail -n 1 "$out/$1.log")" >&2
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
for process in "${!names[@]}"; do
  wait "$process"
  ended "${names[$process]}" $?
done
[[ ${#runs[@]} -gt 0 ]] || exit 1
python -m brain_mri compare "${runs[@]}" ${ALSO:-} "${table[@]}" --out "$out" && exit "$failed"
