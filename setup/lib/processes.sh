# shellcheck shell=bash
# Starting and stopping the demo's two servers. Each has a file .run/NAME.pid.

is_port() { [[ $1 =~ ^[0-9]{1,5}$ ]] && [ "$1" -ge 1 ] && [ "$1" -le 65535 ]; }

port_is_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# running_pid NAME: the process id, if that process lives and is ours: an id may have passed to a stranger since.
running_pid() {
    local pid
    pid=$(cat -- "$RUN_DIR/$1.pid" 2>/dev/null) || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$SETUP_DIR/" || return 1
    printf '%s\n' "$pid"
}

# start_server NAME COMMAND...: in a session of its own, so that Ctrl-C reaches only the script, which stops it in order,
# and without the script's own lock, which a detached server would keep.
start_server() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$RUN_DIR/$name.log" 2>&1 {START_FD}>&- &
    printf '%s\n' "$!" >"$RUN_DIR/$name.pid"
}

stop_server() {
    local name=$1 pid deadline=$((SECONDS + 20))
    if pid=$(running_pid "$name"); then
        kill -TERM "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do
            [ "$SECONDS" -lt "$deadline" ] || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.1
        done
    fi
    rm -f -- "$RUN_DIR/$name.pid"
}

stop_servers() {
    rm -f -- "$RUN_DIR/demo.json"
    stop_server odoo
    stop_server sandbox
}
