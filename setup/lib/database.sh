# shellcheck shell=bash
# What the demo's and the tests' databases have in common. A database's comment in PostgreSQL says what it was made from,
# so that a half-made one is never used.

# The cluster is shared by all clones of this user, so the databases of each carry its mark.
clone_hash() { printf '%s' "$REPO_DIR" | sha256sum | cut -c1-8; }

# What an installed database depends on: tests and static files are read from the disk.
addon_hash() {
    (cd -- "$REPO_DIR/wechat_merchant_bind" && find . \( -path ./tests -o -path ./static -o -name __pycache__ \) -prune \
        -o -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-12
}

database_comment() {
    psql -d postgres -Atqc "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '$1'"
}

set_database_comment() { psql -d postgres -qc "COMMENT ON DATABASE \"$1\" IS '$2'"; }

drop_database() {
    PGOPTIONS='-c client_min_messages=warning' dropdb --if-exists --force "$1"
    rm -rf -- "$CACHE_DIR/odoo-data/filestore/$1"
}

# odoo_job LOG WHAT ARGS...: runs Odoo once. Its exit code alone says too little: `db init` logs an error and exits 0.
odoo_job() {
    local log=$1 what=$2
    shift 2
    if ! python "$ODOO_BIN" "$@" >"$log" 2>&1 || grep -qE ' (ERROR|CRITICAL) ' "$log"; then
        die "$what failed: read $log"
    fi
}
