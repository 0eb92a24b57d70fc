#!/usr/bin/env bash
# What is published stays the same whatever fails meanwhile: the release binary over one recorded log, a real Kafka
# broker and a real S3 server, each killed, frozen or made to fail; every cell is compared row by row with an
# undisturbed run, which is compared with the simulated clusters' ledgers, as is a run with a live cluster.
#
#   [FAULTS_SIZE=small|full] [FAULTS_SEED=…] [FAULTS_ONLY="kill zombie"] [FAULTS_RECORD=yes] faults.sh
#
# With FAULTS_RECORD=yes the table is written to docs/reliability.md. A seed that is printed replays the moments of the
# kills. What a failed run leaves is kept in target/faults until the next one.
# Exit codes: 1 something differs or failed on the way, 2 usage, 3 DID NOT RUN (a tool is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -eq 0 ] || {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

did_not_run() {
    echo "tier faults DID NOT RUN: $1 is missing" >&2
    exit 3
}

for tool in cargo cc curl kcat; do
    command -v "$tool" >/dev/null || did_not_run "$tool"
done
case ${FAULTS_SIZE:-small} in
small | full) ;;
*)
    echo "FAULTS_SIZE is $FAULTS_SIZE; it is small or full" >&2
    exit 2
    ;;
esac
python=$(tools/readers/python.sh) || {
    code=$?
    [ "$code" = 3 ] && did_not_run "python3 or its venv module"
    exit "$code"
}

target=${CARGO_TARGET_DIR:-target}
rm -rf "$target/faults"
mkdir -p "$target/faults"
cargo build --release --quiet -p catchment
export FAULTS_CLOCK_LIBRARY=$target/faults/clock.so
cc -O2 -shared -fPIC -o "$FAULTS_CLOCK_LIBRARY" tools/faults/clock.c
# The environment wins over an endpoint that is configured.
unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_SESSION_TOKEN
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret
export PYTHONPATH=tools/readers PYTHONDONTWRITEBYTECODE=1
exec "$python" tools/faults/main.py "$target/release/catchment" "$target/faults"
