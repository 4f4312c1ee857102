# shellcheck shell=bash
# What every script of setup/ shares: messages, the cache folder, locks, stamps.
# Sourced, never run.

SETUP_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
REPO_DIR=$(dirname -- "$SETUP_DIR")
RUN_DIR=$REPO_DIR/.run
LOCK_FD= # of the lock held right now, see with_lock

# Progress goes to stderr: the standard output belongs to the command that `setup/run` or `setup/odoo` starts.
say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# Where downloads, the virtual environment and PostgreSQL live, shared by all clones of one user. It holds nothing that
# can't be made again.
cache_dir() {
    if [ -n "${WECHAT_BIND_CACHE:-}" ]; then
        printf '%s\n' "$WECHAT_BIND_CACHE"
    elif is_root; then
        printf '/var/cache/wechat_merchant_bind\n'
    else
        printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/wechat_merchant_bind"
    fi
}

prepare_folders() {
    CACHE_DIR=$(cache_dir)
    # As root PostgreSQL runs as the user postgres, which must be able to enter the folder.
    (umask 022 && mkdir -p -- "$CACHE_DIR/log" "$RUN_DIR") || die "cannot create $CACHE_DIR or $RUN_DIR"
    CACHE_DIR=$(cd -- "$CACHE_DIR" && pwd -P)
    [ -w "$CACHE_DIR" ] || die "cannot write to $CACHE_DIR (set WECHAT_BIND_CACHE to another folder)"
    # The folder of a run holds the demo's password.
    chmod 700 "$RUN_DIR" 2>/dev/null \
        || die "$RUN_DIR belongs to $(stat -c %U -- "$RUN_DIR"): run this as that user, or remove the folder"
}

# require_space FOLDER MEGABYTES: a full disk shows up as dozens of odd errors later, so ask before.
require_space() {
    local available
    available=$(df --output=avail -m -- "$1" | tail -n 1)
    [ "$available" -ge "$2" ] || die "only $((available)) MB free for $1, at least $2 MB are needed"
}

# with_lock NAME FUNCTION [ARGS]: several clones and terminals may provision the same cache at the same time.
with_lock() {
    local name=$1 lock_fd
    shift
    exec {lock_fd}>"$CACHE_DIR/$name.lock"
    if ! flock -n "$lock_fd"; then
        say "Waiting for another setup that prepares $name"
        flock "$lock_fd"
    fi
    # Daemons that the function starts must not inherit the descriptor, or they would hold the lock for ever.
    LOCK_FD=$lock_fd
    "$@"
    exec {LOCK_FD}>&-
    LOCK_FD=
}

# hash_of FILE...: a short name for the content of files, used in stamps.
hash_of() { cat -- "$@" | sha256sum | cut -c1-12; }

# quietly LOG WHAT COMMAND...: keep a long command's output in a file and point to it only when the command fails.
quietly() {
    local log=$1 what=$2
    shift 2
    "$@" >"$log" 2>&1 || die "$what failed: read $log"
}
