#!/usr/bin/env bash
# The main job end to end: a simulated cluster and collector -> log -> windows -> Kafka and Parquet.
#
#   [DEMO_SECONDS=60] demo.sh
#
# Starts a real single-node Kafka for it when java and mvn are there; without them the rows go to
# Parquet and JSON lines only, and that is said. What the last demo wrote stays in .demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/ports.sh

# What is missing is installed as root and named otherwise; only what building needs is insisted on.
tools/setup.sh all
echo "building" >&2
cargo build --quiet -p catchment

broker=$(mktemp -d)
port=$(free_port)
kafka=()
stop_broker() {
    [ ${#kafka[@]} = 0 ] || tools/kafka/broker.sh stop "$broker" "$port" >&2
    rm -rf "$broker"
}
trap stop_broker EXIT
# Ctrl-C goes to the whole group: the demo ends with its summary, and the broker with this script.
trap : INT
if tools/kafka/broker.sh start "$broker" "$port" >"$broker/start.log" 2>&1; then
    kafka=(--kafka "127.0.0.1:$port")
else
    echo "no Kafka: $(tail -n 1 "$broker/start.log")" >&2
fi

"${CARGO_TARGET_DIR:-target}/debug/catchment" demo --dir .demo "${kafka[@]}"
