#!/usr/bin/env bash
# One training without each source, measured on the source that it left out, and one table of them all.
#   bash recipes/leave_one_out.sh --data A B --masks C D --epochs 10                  # options of train.py
#   SOURCES="lgg A,C" OUT=runs/two bash recipes/leave_one_out.sh --data A B --masks C D
# SOURCES: these instead of every folder of --data and --masks; "A,C" leaves out both at once, as it takes where one
# source gives class folders and masks. Needed where two folders have the same name (train.py calls the second NAME-2),
# and for an address whose server names the file otherwise. A source with another's patients takes them along to the test rows.
source_name() { # as data/remote.py calls a folder, an archive, kaggle:owner/name/versions/3, hf:user/name@revision
  local word=${1%%\?*}
  case $word in
  kaggle:*) basename "${word%/versions/*}" ;;
  hf:*) basename "${word%%@*}" ;;
  *) if [[ -f $word || $word == *://* ]]; then
      basename "$word" | sed -E 's/\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$//'
    else
      basename "$(realpath -m "$word")"
    fi ;;
  esac
}
if [[ -z ${SOURCES:-} ]]; then
  taking='' names=()
  for word in "$@"; do
    case $word in
    --data | --masks) taking=yes ;;
    --*) taking='' ;;
    *) [[ -z $taking ]] || names+=("$(source_name "$word")") ;;
    esac
  done
  SOURCES=$(printf '%s\n' "${names[@]}" | sort -u)
fi
SOURCES=$SOURCES OUT=${OUT:-runs/left_out} exec bash "$(dirname "$0")/leaderboard.sh" "$@"
