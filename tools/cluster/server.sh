#!/usr/bin/env bash
# A real Kubernetes API server over a real etcd, for tests, without containers and without nodes.
#
#   tools/cluster/server.sh build               build once into the cache
#   tools/cluster/server.sh start   DIR PORT    build, serve DIR at https://127.0.0.1:PORT (etcd: the two ports after)
#   tools/cluster/server.sh stop    DIR PORT    stop what `start` left running for DIR
#   tools/cluster/server.sh restart DIR PORT    stop the API server alone and start it again; etcd goes on
#   tools/cluster/server.sh forget  DIR PORT    restart, with every older revision compacted away between
#   tools/cluster/server.sh kubectl DIR PORT ARGS...    kubectl of the same release, as the administrator
#
# DIR gets admin.yaml and reader.yaml: kubeconfig files of the administrator and of a user without any permission, `reader`
# in the group `readers`. Exit codes: 2 usage, 3 no go toolchain to build with, 1 anything else.
set -euo pipefail

VERSION=1.35.4
SOURCE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/server"
READY_TRIES=300

usage() {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# What is built depends on the module as much as on the release.
cached() {
    local sum
    sum=$(cat "$SOURCE"/{main.go,go.mod,go.sum} | sha256sum)
    echo "${CATCHMENT_CACHE:-$HOME/.cache/catchment}/cluster-$VERSION-${sum:0:12}"
}

build() {
    [ -x "$BINARY" ] && return
    # From 1.21 on, Go fetches the release that a module asks for.
    if ! go version 2>/dev/null | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])'; then
        echo "go is missing or too old: install Go 1.21 or newer, or put the binary at $BINARY" >&2
        exit 3
    fi
    mkdir -p "$(dirname "$BINARY")"
    echo "building the API server of Kubernetes $VERSION once into $(dirname "$BINARY"), about eight minutes of CPU" >&2
    local version=k8s.io/component-base/version
    local stamp="-X $version.gitVersion=v$VERSION -X $version.gitMajor=1 -X $version.gitMinor=${VERSION:2:2}"
    (cd "$SOURCE" && CGO_ENABLED=0 GOFLAGS="-p=2 -buildvcs=false" nice go build -trimpath -ldflags "-s -w $stamp" \
        -o "$BINARY.$$" .)
    mv "$BINARY.$$" "$BINARY"
}

alive() { # NAME
    [ -f "$DIR/$1.pid" ] && kill -0 "$(cat "$DIR/$1.pid")" 2>/dev/null
}

launch() { # NAME ARGS...
    local name=$1
    shift
    nohup "$BINARY" "$name" "$@" >>"$DIR/$name.log" 2>&1 </dev/null &
    echo $! >"$DIR/$name.pid"
}

end() { # NAME
    local name=$1
    if alive "$name"; then
        kill "$(cat "$DIR/$name.pid")"
        for _ in $(seq 100); do
            alive "$name" || break
            sleep 0.1
        done
        alive "$name" && kill -KILL "$(cat "$DIR/$name.pid")"
    fi
    rm -f "$DIR/$name.pid"
}

await() { # NAME COMMAND...
    local name=$1
    shift
    for _ in $(seq "$READY_TRIES"); do
        alive "$name" || break
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "$name did not become ready; the end of its log:" >&2
    tail -n 20 "$DIR/$name.log" >&2
    stop
    exit 1
}

as_admin() { # PATH
    curl --noproxy '*' --silent --fail --max-time 5 --cacert "$DIR/certs/apiserver.crt" \
        --header "Authorization: Bearer admin-token" "https://127.0.0.1:$PORT$1"
}

etcd() { # PATH JSON
    curl --noproxy '*' --silent --fail --max-time 5 --data "$2" "http://127.0.0.1:$((PORT + 1))$1"
}

start_etcd() {
    local client="http://127.0.0.1:$((PORT + 1))" peer="http://127.0.0.1:$((PORT + 2))"
    launch etcd --name test --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "test=$peer"
    await etcd etcd /v3/kv/range '{"key":"AA=="}'
}

# There is no service account controller: pods are admitted without their account.
start_apiserver() {
    launch apiserver --etcd-servers="http://127.0.0.1:$((PORT + 1))" --bind-address=127.0.0.1 --secure-port="$PORT" \
        --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --cert-dir="$DIR/certs" \
        --service-cluster-ip-range=10.96.0.0/16 --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$DIR/sa.pub" --service-account-signing-key-file="$DIR/sa.key" \
        --token-auth-file="$DIR/tokens.csv" --authorization-mode=RBAC --anonymous-auth=false \
        --disable-admission-plugins=ServiceAccount,TaintNodesByCondition --shutdown-delay-duration=0s
    await apiserver as_admin /readyz
}

write_kubeconfig() { # USER
    cat >"$DIR/$1.yaml" <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$PORT", certificate-authority: "$DIR/certs/apiserver.crt"}}]
users: [{name: $1, user: {token: $1-token}}]
contexts: [{name: test, context: {cluster: test, user: $1}}]
current-context: test
CONFIG
}

start() {
    build
    if alive apiserver; then
        echo "already running for $DIR (pid $(cat "$DIR/apiserver.pid"))" >&2
        return
    fi
    if (: </dev/tcp/127.0.0.1/"$PORT") 2>/dev/null; then
        echo "port $PORT is taken by another server; choose another one" >&2
        exit 1
    fi
    [ -f "$DIR/sa.key" ] || openssl genrsa -out "$DIR/sa.key" 2048 2>/dev/null
    openssl rsa -in "$DIR/sa.key" -pubout -out "$DIR/sa.pub" 2>/dev/null
    printf '%s\n' 'admin-token,admin,1,"system:masters"' 'reader-token,reader,2,"readers"' >"$DIR/tokens.csv"
    write_kubeconfig admin
    write_kubeconfig reader
    start_etcd
    start_apiserver
    echo "https://127.0.0.1:$PORT"
}

stop() {
    end apiserver
    end etcd
}

# The server replays from its own memory what etcd has forgotten; only a new start forgets both.
compact() {
    local revision
    revision=$(etcd /v3/kv/range '{"key":"AA=="}' | sed -n 's/.*"revision":"\([0-9]*\)".*/\1/p')
    etcd /v3/kv/compaction "{\"revision\":\"$revision\",\"physical\":true}" >/dev/null
}

BINARY="$(cached)/server"
COMMAND=${1:-}
if [ "$COMMAND" = build ]; then
    build
    exit
fi
[ $# -ge 3 ] || usage
mkdir -p "$2"
DIR="$(cd "$2" && pwd)"
PORT="$3"
shift 3

case "$COMMAND" in
start) start ;;
stop) stop ;;
restart)
    end apiserver
    start_apiserver
    ;;
forget)
    end apiserver
    compact
    start_apiserver
    ;;
kubectl) exec "$BINARY" kubectl --kubeconfig "$DIR/admin.yaml" "$@" ;;
*) usage ;;
esac
