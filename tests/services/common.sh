# Sourced by the scripts beside it. Helpers for starting servers as local processes.

# Debian keeps servers here, and leaves it out of the path of a user who is not root.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# A port that nothing listens on now.
free_port() {
    python3 - <<'PY' 2>/dev/null || perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport, "\n"'
import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])
PY
}

# Runs a command as USER where we are root (database servers refuse to run as root), else as we are.
as_user() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then runuser -u "$user" -- "$@"; else "$@"; fi
}

# Waits at most SECONDS for a command to succeed.
wait_for() {
    local seconds=$1 what=$2
    shift 2
    local i
    for ((i = 0; i < seconds * 10; i++)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    echo "$what did not come up within $seconds s" >&2
    return 1
}
