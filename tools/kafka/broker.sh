#!/usr/bin/env bash
# A real single-node Kafka broker (KRaft) without Docker, for tests and trials on one machine.
#
#   broker.sh start DIR PORT    fetch the jars if needed, format DIR, start, wait until it serves PORT (and PORT+1)
#   broker.sh stop DIR PORT     end the broker of DIR and wait for it
#   broker.sh status DIR PORT   exit 0 if it runs, 1 if not
#
# The data stays in DIR, so a stopped broker can be started again with what it held.
# Jars are kept in ${CATCHMENT_CACHE:-$HOME/.cache/catchment}/kafka-<version>.
# Exit codes: 1 the broker did not start or does not run, 2 usage, 3 java or mvn is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
libs=${CATCHMENT_CACHE:-$HOME/.cache/catchment}/kafka-$version
start_seconds=${BROKER_START_SECONDS:-120}

usage() {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

need() {
    command -v "$1" >/dev/null || {
        echo "broker.sh: $1 is missing: install $2 and put it on the PATH" >&2
        exit 3
    }
}

running() {
    [ -f "$dir/broker.pid" ] && kill -0 "$(cat "$dir/broker.pid")" 2>/dev/null
}

fetch() {
    [ -f "$libs/.complete" ] && return
    need mvn "Apache Maven"
    echo "fetching Kafka $version into $libs"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs"
    touch "$libs/.complete"
}

write_config() {
    cat >"$dir/server.properties" <<CONFIG
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
CONFIG
    cat >"$dir/log4j2.properties" <<CONFIG
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c %m%n
CONFIG
}

format() {
    [ -f "$dir/data/meta.properties" ] && return
    local id
    id=$(java -cp "$libs/*" kafka.tools.StorageTool random-uuid 2>>"$dir/format.log")
    java -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" >>"$dir/format.log" 2>&1 || {
        echo "broker.sh: formatting $dir/data failed, see $dir/format.log" >&2
        exit 1
    }
}

launch() {
    # SerialGC and the first compiler tier alone: a small broker that is up in seconds.
    nohup java -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dlog4j2.configurationFile="$dir/log4j2.properties" \
        -cp "$libs/*" kafka.Kafka "$dir/server.properties" >"$dir/broker.log" 2>&1 </dev/null &
    echo $! >"$dir/broker.pid"
}

wait_until_ready() {
    for _ in $(seq "$start_seconds"); do
        grep -q "Kafka Server started" "$dir/broker.log" && return
        running || break
        sleep 1
    done
    echo "broker.sh: the broker did not start, the end of $dir/broker.log:" >&2
    tail -n 20 "$dir/broker.log" >&2
    stop
    exit 1
}

start() {
    running && { echo "already running on 127.0.0.1:$port"; return; }
    need java "a Java 17 runtime or newer"
    fetch
    write_config
    format
    launch
    wait_until_ready
    echo "running on 127.0.0.1:$port"
}

stop() {
    if running; then
        local pid
        pid=$(cat "$dir/broker.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 30); do
            running || break
            sleep 1
        done
        running && kill -9 "$pid" 2>/dev/null
    fi
    rm -f "$dir/broker.pid"
}

status() {
    if running; then
        echo "running on 127.0.0.1:$port, pid $(cat "$dir/broker.pid")"
    else
        echo "not running"
        return 1
    fi
}

[ $# -eq 3 ] || usage
command=$1 port=$3
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $command in
    start | stop | status) "$command" ;;
    *) usage ;;
esac
