#!/usr/bin/env bash
# A pipeline over a simulated cluster: a simulated collector, read into a log, folded into windows, printed.
#
#   demo.sh [ROWS]    print so many rows (20 unless told), then end
#
# Nothing stays behind: the log lies in a folder that is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rows=${1:-20}
# Any port that nobody listens on.
port=$((20000 + RANDOM % 10000))
while (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do port=$((port + 1)); done
dir=$(mktemp -d)
collector=
trap '[ -z "$collector" ] || kill "$collector" 2>/dev/null || true; rm -rf "$dir"' EXIT

echo "building" >&2
cargo build --quiet -p catchment
catchment=${CARGO_TARGET_DIR:-target}/debug/catchment

# Ten minutes of history, so that there are closed windows from the start.
"$catchment" simulate goldmane --listen "127.0.0.1:$port" --flows-per-second 50 --backfill 10m >&2 &
collector=$!

cat >"$dir/catchment.yaml" <<CONFIG
cluster: demo
spool:
  dir: $dir/spool
sources:
  calico:
    type: goldmane
    address: http://127.0.0.1:$port
sinks:
  terminal:
    type: jsonl
    path: "-"
http:
  listen: 127.0.0.1:0
CONFIG

echo "the first $rows rows of the dataset flows, one JSON object a line" >&2
# `head` leaving early is how the demo ends.
"$catchment" run --config "$dir/catchment.yaml" | head -n "$rows" || true
