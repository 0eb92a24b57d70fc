#!/usr/bin/env bash
# Runs the tests of one connector against a real server: start it, test, stop it whatever happens.
#
#   tier.sh kafka | s3 | alertmanager | cluster
#
# Exit codes: 2 usage, 3 DID NOT RUN (the tier or a tool it needs is not there), else what cargo says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/ports.sh

case ${1:-} in
    kafka) server=tools/kafka/broker.sh test=broker where=connectors/kafka ;;
    s3) server=tools/s3/server.sh test=s3 where=connectors/parquet ;;
    alertmanager) server=tools/alertmanager/server.sh test=alertmanager where=connectors/notify ;;
    cluster) server=tools/cluster/server.sh test=cluster where=connectors/kubernetes ;;
    *)
        sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac

did_not_run() {
    echo "tier $test DID NOT RUN: $1" >&2
    exit 3
}

[ -x "$server" ] || did_not_run "$server is not there"
[ -e "$where/tests/$test.rs" ] || [ -e "$where/tests/$test/main.rs" ] || did_not_run "$where has no test $test"

ready() { # COMMAND...
    "$server" "$@" || { code=$?; [ "$code" = 3 ] && did_not_run "a tool is missing"; exit "$code"; }
}

if [ "$1" = cluster ]; then
    # Its tests stop and start servers as they need them.
    ready build
    export CATCHMENT_TEST_CLUSTER=$PWD/$server
else
    dir=$(mktemp -d)
    port=$(free_port)
    trap '"$server" stop "$dir" "$port" >&2 || true; rm -rf "$dir"' EXIT
    ready start "$dir" "$port"
fi
case $1 in
    kafka) export CATCHMENT_TEST_KAFKA=127.0.0.1:$port ;;
    s3) export CATCHMENT_TEST_S3=http://127.0.0.1:$port ;;
    alertmanager) export CATCHMENT_TEST_ALERTMANAGER=http://127.0.0.1:$port ;;
esac
# The whole workspace, as `make test` built it: one package alone would be built again with other features.
CI=true cargo test --workspace --test "$test"
