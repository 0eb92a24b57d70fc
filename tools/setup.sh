#!/usr/bin/env bash
# System packages, on Debian and Ubuntu: installs what is missing when run as root, else names it.
#
#   setup.sh build    what building and the tests without servers need
#   setup.sh all      also what the tiers with real servers need, as far as the distribution has it
#
# Exit codes: 1 something needed for building is missing, 2 usage.
set -euo pipefail

missing=()

want() { # COMMAND-OR-FILE PACKAGE
    command -v "$1" >/dev/null || [ -e "$1" ] || missing+=("$2")
}

go_is_new_enough() { # the one of the distribution
    local version
    version=$(apt-cache policy golang-go 2>/dev/null | sed -n 's/ *Candidate: //p')
    [ -n "$version" ] && dpkg --compare-versions "${version#*:}" ge 1.21
}

case ${1:-} in
    build | all) ;;
    *)
        sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac

# A C and C++ tool chain, make, pkg-config, perl and zlib: librdkafka and zstd are built from source.
want gcc gcc
want g++ g++
want make make
want perl perl
want pkg-config pkg-config
want /usr/include/zlib.h zlib1g-dev
if [ "$1" = all ]; then
    # The Kafka tier starts a broker on Java; the servers of the S3 and the cluster tier are built with Go. From 1.21 on it
    # fetches the release that a module asks for; where the distribution has an older one, install it from go.dev.
    command -v go >/dev/null || ! go_is_new_enough || missing+=(golang-go)
    want java default-jdk-headless
    want mvn maven
    want kcat kcat
    # The feature kafka-tls.
    want /usr/include/openssl/ssl.h libssl-dev
    want prometheus-alertmanager prometheus-alertmanager
    want curl curl
    want openssl openssl
    # Distributions part the venv module from the rest of Python.
    python3 -c "import ensurepip" 2>/dev/null || missing+=(python3-venv)
fi

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; then
        exit 0
    fi
fi
echo "missing system packages; install them with: sudo apt-get install ${missing[*]}" >&2
# The tiers say themselves which tool they lack; only what building needs stops everything.
if [ "$1" = all ]; then
    exec "${BASH_SOURCE[0]}" build
fi
exit 1
