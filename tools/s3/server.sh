#!/usr/bin/env bash
# A real S3-compatible server (versitygw over a folder) for tests and demos, without containers.
#
#   tools/s3/server.sh start DIR PORT    build once, serve DIR at http://127.0.0.1:PORT, create bucket `catchment`
#   tools/s3/server.sh stop  DIR PORT    stop the server that `start` left running for DIR
#
# Keys: testkey / testsecret. Exit codes: 2 usage, 3 no go toolchain to build with, 1 anything else.
set -euo pipefail

VERSION=1.8.0
CACHE="${CATCHMENT_CACHE:-$HOME/.cache/catchment}/versitygw-$VERSION"
BINARY="$CACHE/versitygw"
READY_TRIES=100

usage() {
    echo "usage: $0 start|stop DIR PORT" >&2
    exit 2
}

build() {
    [ -x "$BINARY" ] && return
    if ! command -v go >/dev/null; then
        echo "go is missing: install Go 1.24 or newer, or put a versitygw $VERSION binary at $BINARY" >&2
        exit 3
    fi
    mkdir -p "$CACHE"
    echo "building versitygw $VERSION once into $CACHE" >&2
    # One compile at a time: this runs beside other builds.
    GOBIN="$CACHE" GOFLAGS=-p=1 nice go install "github.com/versity/versitygw/cmd/versitygw@v$VERSION"
}

alive() {
    [ -f "$PID_FILE" ] && kill -0 "$(cat "$PID_FILE")" 2>/dev/null
}

# Any HTTP answer means the listener is up; an unsigned request is refused with 403.
ready() {
    curl --silent --output /dev/null --max-time 2 "http://127.0.0.1:$PORT/"
}

await_ready() {
    for _ in $(seq "$READY_TRIES"); do
        if ! alive; then
            break
        fi
        if ready; then
            return
        fi
        sleep 0.1
    done
    echo "the server did not become ready; its log:" >&2
    cat "$LOG_FILE" >&2
    stop
    exit 1
}

start() {
    build
    if alive; then
        echo "already running for $DIR (pid $(cat "$PID_FILE"))" >&2
        return
    fi
    if ready; then
        echo "port $PORT is taken by another server; choose another one" >&2
        exit 1
    fi
    # A top-level folder of the root is a bucket.
    mkdir -p "$DIR/data/catchment"
    ROOT_ACCESS_KEY=testkey ROOT_SECRET_KEY=testsecret nohup "$BINARY" --port "127.0.0.1:$PORT" --quiet \
        posix "$DIR/data" >"$LOG_FILE" 2>&1 </dev/null &
    echo $! >"$PID_FILE"
    await_ready
    echo "http://127.0.0.1:$PORT"
}

stop() {
    if alive; then
        kill "$(cat "$PID_FILE")"
    fi
    rm -f "$PID_FILE"
}

[ $# -eq 3 ] || usage
mkdir -p "$2"
DIR="$(cd "$2" && pwd)"
PORT="$3"
PID_FILE="$DIR/server.pid"
LOG_FILE="$DIR/server.log"

case "$1" in
start) start ;;
stop) stop ;;
*) usage ;;
esac
