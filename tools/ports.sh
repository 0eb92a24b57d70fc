# Sourced by the scripts that start servers.

# A port that nobody listens on, and the one after it: the broker takes two.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (: </dev/tcp/127.0.0.1/$port) 2>/dev/null && continue
        (: </dev/tcp/127.0.0.1/$((port + 1))) 2>/dev/null && continue
        echo "$port"
        return
    done
}
