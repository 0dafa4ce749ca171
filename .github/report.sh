#!/bin/bash
# Say in an issue what failed: open it, or comment on the open one. For workflows, with GH_TOKEN.
# usage: report.sh TITLE FILE
set -euo pipefail
export TITLE=$1
body=$(mktemp)
{
  echo "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID"
  echo
  echo '~~~'
  tail -n 60 "$2" | tail -c 60000
  echo '~~~'
} > "$body"
export GH_REPO=$GITHUB_REPOSITORY
number=$(gh issue list --state open --limit 1000 --json number,title \
  --jq 'map(select(.title == env.TITLE)) | .[0].number // empty')
if [ -n "$number" ]; then
  gh issue comment "$number" --body-file "$body"
else
  gh issue create --title "$TITLE" --body-file "$body"
fi
