#!/usr/bin/env bash
# What is published equals the truth: the release binary between a simulated cluster, a real Kafka
# broker and a real S3 server, judged by readers that share no code with it.
#
#   [LEDGER_MINUTES=30] [LEDGER_SPEED=8] [LEDGER_WAIT=900] ledger.sh
#
# Judges that many minutes of the cluster's time. The wait, in seconds, is for everything about them
# to be published; on a slow machine lower the speed. What a failed run leaves is kept in
# target/ledger until the next one.
# Exit codes: 1 something differs or failed on the way, 2 usage, 3 DID NOT RUN (a tool is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/ports.sh

[ $# -eq 0 ] || {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
minutes=${LEDGER_MINUTES:-30}
# The source spares a collector: after each answer it waits four times as long as that took. One of
# this size can be read, and looked at again, at about ten times its speed.
speed=${LEDGER_SPEED:-8}
wait_seconds=${LEDGER_WAIT:-900}
stop_seconds=60
sample=3000

# The minutes that are judged end on the next day, so that files lie in several partitions.
midnight=1767312000
start=$(date -u -d "@$((midnight - minutes * 60 / 3))" +%FT%TZ)
judged_until=$(date -u -d "@$((midnight + minutes * 60 - minutes * 60 / 3))" +%FT%TZ)

target=${CARGO_TARGET_DIR:-target}
dir=$target/ledger
root=catchment/lake
# The environment wins over an endpoint that is configured.
unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_SESSION_TOKEN
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret
catchment=$target/release/catchment
kafka_port= s3_port= simulator= pipeline= passed=no

did_not_run() {
    echo "tier ledger DID NOT RUN: $1" >&2
    exit 3
}

# Ends with the code of a helper that failed: 3 says that it lacks a tool.
failed() { # CODE TOOLS
    [ "$1" = 3 ] && did_not_run "$2 is missing"
    exit "$1"
}

say() {
    echo "ledger: $1" >&2
}

need_tools() {
    local tool
    for tool in cargo curl kcat; do
        command -v "$tool" >/dev/null || failed 3 "$tool"
    done
    python=$(tools/readers/python.sh) || failed $? "python3 or its venv module"
}

start_server() { # SCRIPT DIR PORT TOOLS
    "$1" start "$2" "$3" >&2 || failed $? "$4"
}

start_servers() {
    kafka_port=$(free_port)
    start_server tools/kafka/broker.sh "$dir/kafka" "$kafka_port" "java or mvn"
    s3_port=$(free_port)
    start_server tools/s3/server.sh "$dir/s3" "$s3_port" go
}

write_config() { # COLLECTOR-PORT
    cat >"$dir/catchment.yaml" <<CONFIG
cluster: ledger
spool: { dir: $dir/spool }
sources:
  calico: { type: goldmane, address: "http://127.0.0.1:$1" }
sinks:
  kafka: { type: kafka, brokers: "127.0.0.1:$kafka_port" }
  lake:
    type: parquet
    url: s3://$root
    s3:
      endpoint: http://127.0.0.1:$s3_port
      region: us-east-1
      access_key_id: \${AWS_ACCESS_KEY_ID}
      secret_access_key: \${AWS_SECRET_ACCESS_KEY}
      allow_http: true
  lines: { type: jsonl, path: "$dir/rows/lines/findings.jsonl", datasets: [findings] }
http: { listen: "127.0.0.1:0" }
CONFIG
}

# The cluster reports until it is stopped: a collector shows its time by its flows alone, and the
# second look at a bucket comes six minutes after its end.
start_pipeline() {
    local port
    port=$(free_port)
    write_config "$port"
    "$catchment" simulate goldmane --listen "127.0.0.1:$port" --seed 7 --nodes 50 --flows-per-second 2000 \
        --speed "$speed" --start "$start" --truth "$dir/truth.ndjson" >"$dir/simulator.log" 2>&1 &
    simulator=$!
    "$catchment" run --config "$dir/catchment.yaml" >"$dir/pipeline.log" 2>&1 &
    pipeline=$!
}

readers() {
    "$python" tools/readers/published.py "127.0.0.1:$kafka_port" "127.0.0.1:$s3_port" "$root" "$@"
}

# Ends a child and fails unless it ends in time and well.
stop() { # NAME PID
    local code=0
    kill -TERM "$2" 2>/dev/null || { say "the $1 has ended by itself, see $dir/$1.log"; return 1; }
    for _ in $(seq "$stop_seconds"); do
        kill -0 "$2" 2>/dev/null || break
        sleep 1
    done
    if kill -KILL "$2" 2>/dev/null; then
        say "the $1 did not end within $stop_seconds s of SIGTERM"
        return 1
    fi
    wait "$2" || code=$?
    [ "$code" = 0 ] || { say "the $1 ended with code $code, see $dir/$1.log"; return 1; }
}

clean_up() {
    local pid
    for pid in $pipeline $simulator; do kill -KILL "$pid" 2>/dev/null || true; done
    [ -z "$kafka_port" ] || tools/kafka/broker.sh stop "$dir/kafka" "$kafka_port" >&2 || true
    [ -z "$s3_port" ] || tools/s3/server.sh stop "$dir/s3" "$s3_port" >&2 || true
    if [ "$passed" = yes ]; then
        rm -rf "$dir"
    else
        say "what the run left is in $dir"
    fi
}

check_schemas() {
    local dataset file lines step
    for dataset in flows conversations late rejects gaps findings; do
        file=$dir/rows/kafka/$dataset.jsonl
        lines=$(wc -l <"$file")
        if [ "$lines" = 0 ]; then
            echo "$dataset: no rows"
        else
            step=$((lines / sample + 1))
            awk -v step="$step" '(NR - 1) % step == 0' "$file" | "$python" tools/readers/check_json.py "$dataset"
        fi
    done
}

check_metrics() {
    local page
    page=$(grep -o 'http://[^ "]*/metrics' "$dir/pipeline.log" | head -n 1)
    curl -fsS "$page" | "$python" tools/readers/check_metrics.py
}

need_tools
rm -rf "$dir"
mkdir -p "$dir/rows/lines"
trap clean_up EXIT
# Before the long build, as they may lack a tool.
start_servers
say "building"
cargo build --release --quiet -p catchment
SECONDS=0
start_pipeline
say "publishing $start to $judged_until at $speed times its speed"
readers wait "$judged_until" "$wait_seconds" "$pipeline"
check_metrics
stop pipeline "$pipeline"
pipeline=
stop simulator "$simulator"
simulator=
published=$SECONDS
say "judging"
readers fetch "$dir/rows"
echo "JSON rows against their schemas, about $sample of each dataset"
check_schemas
echo "Parquet files by three readers"
"$python" tools/readers/check_parquet.py "$dir/rows/parquet"
echo "published and true"
"$python" tools/readers/check_ledger.py "$dir/truth.ndjson" kafka="$dir/rows/kafka" parquet="$dir/rows/parquet" \
    --findings lines="$dir/rows/lines" \
    --until "$judged_until" --windows "$minutes" --late 1
echo "$SECONDS s: $published to publish, $((SECONDS - published)) to judge"
passed=yes
