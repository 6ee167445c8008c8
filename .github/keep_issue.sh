#!/usr/bin/env bash
# One open issue per label: keep_issue.sh LABEL TITLE FILE opens or updates it with FILE's text, and closes it if FILE is empty.
# Needs gh with a token that may write issues. Ends with 1 if there is something to say, so that the run is red as well.
set -euo pipefail
label=$1 title=$2 file=$3

gh label create "$label" --force --description "Kept by .github/workflows/$label.yml" >/dev/null
number=$(gh issue list --label "$label" --state open --json number --jq '.[0].number // empty')
if [ ! -s "$file" ]; then
  [ -z "$number" ] || gh issue close "$number" --comment "Nothing is wrong any more."
  exit 0
fi
if [ -n "$number" ]; then
  gh issue edit "$number" --body-file "$file"
else
  gh issue create --label "$label" --title "$title" --body-file "$file"
fi
exit 1
