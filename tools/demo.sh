#!/usr/bin/env bash
# The main job end to end: a simulated cluster and collector -> log -> windows -> Kafka and Parquet.
#
#   [DEMO_SECONDS=60] demo.sh
#
# Starts a real single-node Kafka when java and mvn are there; without them the rows go to Parquet
# and JSON lines only, and that is said. Ends after DEMO_SECONDS or at Ctrl-C with what was
# published, how to look at it, and the comparison with what the cluster really produced. The last
# demo's output stays in .demo until the next one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${DEMO_SECONDS:-60}
dir=$PWD/.demo
rm -rf "$dir"
mkdir -p "$dir"
pids=()
kafka_port=

free_port() {
    local port=$((20000 + RANDOM % 10000))
    while (: </dev/tcp/127.0.0.1/$port) 2>/dev/null || (: </dev/tcp/127.0.0.1/$((port + 1))) 2>/dev/null; do
        port=$((port + 2))
    done
    echo "$port"
}

stop_all() {
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
    [ -z "$kafka_port" ] || tools/kafka/broker.sh stop "$dir/kafka" "$kafka_port" >&2 || true
    kafka_port=
}
trap stop_all EXIT

echo "building" >&2
cargo build --quiet -p catchment
catchment=${CARGO_TARGET_DIR:-target}/debug/catchment

kafka_port=$(free_port)
if ! tools/kafka/broker.sh start "$dir/kafka" "$kafka_port" >"$dir/kafka.log" 2>&1; then
    echo "no Kafka: $(tail -n 1 "$dir/kafka.log"); rows go to Parquet and JSON lines only" >&2
    kafka_port=
fi

collector=$(free_port)
cat >"$dir/catchment.yaml" <<CONFIG
cluster: demo
spool: { dir: $dir/spool }
sources:
  calico: { type: goldmane, address: "http://127.0.0.1:$collector", begin: latest }
sinks:
  lake: { type: parquet, url: "file://$dir/lake", roll: 60s }
  lines: { type: jsonl, path: $dir/rows.jsonl, datasets: [flows, conversations, late, rejects, gaps] }
http: { listen: "127.0.0.1:0" }
CONFIG
[ -z "$kafka_port" ] || sed -i "s|^sinks:|&\n  kafka: { type: kafka, brokers: \"127.0.0.1:$kafka_port\" }|" "$dir/catchment.yaml"

# Ten seconds of the cluster's time in each of ours; no late reports, so that the comparison needs
# no later look.
"$catchment" simulate goldmane --listen "127.0.0.1:$collector" --seed 7 --flows-per-second 100 --speed 10 \
    --late-share 0 --truth "$dir/truth.ndjson" >"$dir/collector.log" 2>&1 &
pids+=($!)
sleep 1
"$catchment" run --config "$dir/catchment.yaml" >"$dir/run.log" 2>&1 &
pipeline=$!
pids+=($pipeline)

echo "running for $seconds s (Ctrl-C ends it earlier): windows as they close" >&2
trap 'seconds=0' INT
shown=
end=$((SECONDS + seconds))
while [ "$seconds" != 0 ] && [ $SECONDS -lt $end ] && kill -0 "$pipeline" 2>/dev/null; do
    newest=$({ tail -n 1 "$dir/rows.jsonl" 2>/dev/null || true; } | sed -n 's/.*"window_start":"\([^"]*\)".*/\1/p')
    if [ -n "$newest" ] && [ "$newest" != "$shown" ]; then
        shown=$newest
        for dataset in flows conversations; do
            count=$(grep -c "^{\"dataset\":\"$dataset\".*\"window_start\":\"$newest\"" "$dir/rows.jsonl" || true)
            printf '  window %s  %-13s %6s rows\n' "$newest" "$dataset" "$count"
        done
    fi
    sleep 1 || true
done
trap - INT

kill -TERM "$pipeline" 2>/dev/null || true
wait "$pipeline" 2>/dev/null || true

echo
echo "published"
for dataset in flows conversations late rejects gaps; do
    lines=$(grep -c "^{\"dataset\":\"$dataset\"" "$dir/rows.jsonl" || true)
    files=$({ find "$dir/lake/$dataset" -name "*.parquet" 2>/dev/null || true; } | wc -l)
    topic=-
    if [ -n "$kafka_port" ] && command -v kcat >/dev/null; then
        topic=$(kcat -C -b "127.0.0.1:$kafka_port" -t "catchment.$dataset.v1" -e -q -X isolation.level=read_committed 2>/dev/null | wc -l) || true
    fi
    printf '  %-13s  Kafka rows %-7s  JSON lines %-7s  Parquet files %s\n' "$dataset" "$topic" "$lines" "$files"
done

stop_all
echo
echo "compared with what the cluster produced"
if command -v python3 >/dev/null; then
    printf '  '
    python3 tools/readers/check_ledger.py "$dir/truth.ndjson" "$dir/rows.jsonl"
else
    echo "  not compared: python3 is missing"
fi
cat <<LOOK

look at it
  kcat -C -b BROKER -t catchment.flows.v1 -X isolation.level=read_committed      while a broker runs
  duckdb -c "select source_name, dest_name, sum(bytes_out) from read_parquet('.demo/lake/flows/**/*.parquet', hive_partitioning=true) where reporter = 'Src' group by all order by 3 desc limit 10"
  head -n 1 .demo/rows.jsonl
LOOK
