#!/usr/bin/env bash
# Renders each kind of mail to a picture, as a phone and as a desk shows it: services/monitor/pictures.sh FOLDER
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
browser=$(command -v chromium || command -v google-chrome || { echo "no chromium here" >&2; exit 1; })
ORDO_LETTERS=$folder ${CARGO:-cargo} test --quiet --package ordo-monitor --lib letters_can_be_looked_at
for page in "$folder"/*.html; do
  for size in 390,844 900,1000; do
    profile=$(mktemp -d)
    "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
      --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$profile" --window-size="$size" \
      --screenshot="${page%.html}-${size%,*}.png" "file://$page" 2>/dev/null
    rm -rf "$profile"
  done
done
