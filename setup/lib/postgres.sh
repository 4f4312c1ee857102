# shellcheck shell=bash
# A private PostgreSQL cluster in the cache folder, reachable only through a UNIX socket.

missing_postgres_packages() { find_postgres >/dev/null || echo postgresql; }

# The folder of PostgreSQL's server programs, which Debian keeps off PATH: the newest one.
find_postgres() {
    local initdb
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || initdb=$(command -v initdb) || return 1
    dirname -- "$initdb"
}

START_FD= # of the lock that setup/demo holds

# PostgreSQL refuses to run as root. It must not inherit our locks either: the server outlives the script.
as_postgres() {
    local prefix=()
    if is_root; then
        prefix=(setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/)
    fi
    (
        cd /
        [ -z "$LOCK_FD" ] || exec {LOCK_FD}>&-
        [ -z "$START_FD" ] || exec {START_FD}>&-
        exec {PG_USERS_FD}>&- "${prefix[@]}" "$@" </dev/null
    )
}

# A UNIX socket's path has at most 107 bytes, and the server adds "/.s.PGSQL.5432" to the folder.
socket_dir() {
    local folder=$PG_DIR/socket
    if [ "${#folder}" -gt 90 ]; then
        folder=${TMPDIR:-/tmp}/wechat-bind-pg-$(printf '%s' "$PG_DIR" | sha256sum | cut -c1-12)
    fi
    printf '%s\n' "$folder"
}

make_private_folder() {
    mkdir -p -- "$1"
    chmod 700 "$1"
    ! is_root || chown postgres: "$1"
}

make_cluster() {
    say "Making the private PostgreSQL cluster"
    require_space "$CACHE_DIR" 500
    make_private_folder "$PG_DIR"
    rm -rf -- "$PG_DIR/data.new"
    quietly "$CACHE_DIR/log/initdb.log" "initdb" as_postgres "$PG_BIN/initdb" -D "$PG_DIR/data.new" -U odoo -A trust \
        -E UTF8 --locale=C.UTF-8 --no-sync
    mv -- "$PG_DIR/data.new" "$PG_DIR/data"
}

DURABLE= # set by setup/bench: a cluster of its own, which writes as in production

# Nothing in this cluster can't be made again, so it trades durability for speed.
start_cluster() {
    local durability="-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    [ -z "$DURABLE" ] || durability="-c fsync=on -c synchronous_commit=on -c full_page_writes=on"
    if as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" status >/dev/null 2>&1; then
        return
    fi
    [ -d "$PG_DIR/data" ] || make_cluster
    make_private_folder "$PGHOST"
    quietly "$CACHE_DIR/log/pg_ctl.log" "starting PostgreSQL (its own log is $PG_DIR/postgres.log; the folder $PG_DIR may be deleted)" \
        as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -l "$PG_DIR/postgres.log" -w -t 120 start -o "-k '$PGHOST' -p $PGPORT \
-c listen_addresses='' -c max_connections=300 -c shared_buffers=256MB $durability"
}

# Asked before the downloads: below root's home, for example, the answer is no.
require_cluster_folder() {
    if is_root; then
        (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups test -x "$CACHE_DIR") \
            || die "PostgreSQL does not run as root and its user postgres may not enter $CACHE_DIR: set WECHAT_BIND_CACHE"
    fi
}

# Where the cluster is, for ensure_cluster and for a script that only stops.
locate_cluster() {
    PG_BIN=$(find_postgres)
    local kind=${DURABLE:+-durable}
    PG_DIR=$CACHE_DIR/postgres-$("$PG_BIN/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')$kind
    # Each process that uses the cluster holds a shared lock for its lifetime (the descriptor survives exec), so that the
    # last one can tell that it is the last.
    exec {PG_USERS_FD}>"$CACHE_DIR/postgres-users$kind.lock"
}

# Starts the cluster if it is not running, and sets the variables that libpq and Odoo read.
ensure_cluster() {
    locate_cluster
    unset PGDATABASE PGPASSWORD PGSERVICE PGSSLMODE PGOPTIONS PGPASSFILE
    export PGHOST PGPORT=5432 PGUSER=odoo
    PGHOST=$(socket_dir)
    flock -s "$PG_USERS_FD"
    with_lock postgres start_cluster
}

# Stops the cluster unless another clone, terminal or demo is using it.
stop_cluster_if_unused() {
    if flock -n -x "$PG_USERS_FD"; then
        as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -m fast -w stop >/dev/null 2>&1 || true
    fi
    exec {PG_USERS_FD}>&-
}
