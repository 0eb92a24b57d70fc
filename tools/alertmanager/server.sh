#!/usr/bin/env bash
# A real Alertmanager, the one of the distribution, for tests and trials on one machine.
#
#   tools/alertmanager/server.sh start DIR PORT    serve http://127.0.0.1:PORT with its data in DIR, and wait until it is ready
#   tools/alertmanager/server.sh stop  DIR PORT    stop the server that `start` left running for DIR
#
# Exit codes: 1 it did not start, 2 usage, 3 there is none on the PATH.
set -euo pipefail

READY_TRIES=100

usage() {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# Debian calls it prometheus-alertmanager, others alertmanager.
binary() {
    command -v prometheus-alertmanager || command -v alertmanager || {
        echo "alertmanager is missing: install the package prometheus-alertmanager, or put the program on the PATH" >&2
        exit 3
    }
}

alive() {
    [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

start() {
    local server
    server=$(binary)
    mkdir -p "$dir"
    # What is not sent again is soon taken for resolved, so that tests can see both.
    cat >"$dir/alertmanager.yml" <<CONFIG
global: { resolve_timeout: 3s }
route: { receiver: nobody }
receivers: [{ name: nobody }]
CONFIG
    "$server" --config.file="$dir/alertmanager.yml" --storage.path="$dir/data" --cluster.listen-address= \
        --web.listen-address="127.0.0.1:$port" >"$log_file" 2>&1 &
    echo $! >"$pid_file"
    for _ in $(seq "$READY_TRIES"); do
        alive || break
        if curl --silent --fail --output /dev/null --max-time 2 "http://127.0.0.1:$port/-/ready"; then
            return
        fi
        sleep 0.1
    done
    echo "the server did not become ready; its log:" >&2
    cat "$log_file" >&2
    stop
    exit 1
}

stop() {
    alive || return 0
    local pid
    pid=$(cat "$pid_file")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$pid_file"
}

[ $# = 3 ] || usage
dir=$2 port=$3
pid_file=$dir/alertmanager.pid log_file=$dir/alertmanager.log
case $1 in
    start | stop) "$1" ;;
    *) usage ;;
esac
