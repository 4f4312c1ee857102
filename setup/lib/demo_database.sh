# shellcheck shell=bash
# The demo's database. Its comment in PostgreSQL says what it was made from, so that a half-made one is never used.

# The cluster is shared by all clones of this user, so each clone's database has a name of its own.
demo_database_name() { printf 'wechat_demo_%s\n' "$(printf '%s' "$REPO_DIR" | sha256sum | cut -c1-8)"; }

addon_hash() {
    (cd -- "$REPO_DIR/wechat_merchant_bind" && find . -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum) \
        | sha256sum | cut -c1-12
}

# The ports are part of it: they are written into the database (webhook address, API address).
demo_stamp() { printf 'ports=%s,%s' "$PORT" "$SANDBOX_PORT"; }

database_comment() {
    psql -d postgres -Atqc "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '$1'"
}

set_database_comment() { psql -d postgres -qc "COMMENT ON DATABASE \"$1\" IS '$2'"; }

# odoo_job LOG WHAT ARGS...: runs Odoo once. Its exit code alone says too little: `db init` logs an error and exits 0.
odoo_job() {
    local log=$1 what=$2
    shift 2
    if ! python "$ODOO_BIN" "$@" >"$log" 2>&1 || grep -qE ' (ERROR|CRITICAL) ' "$log"; then
        die "$what failed: read $log"
    fi
}

make_demo_database() {
    local log=$RUN_DIR/install.log
    require_space "$PG_DIR" 500
    PGOPTIONS='-c client_min_messages=warning' dropdb --if-exists --force "$DATABASE"
    rm -rf -- "$CACHE_DIR/odoo-data/filestore/$DATABASE"
    say "Making the database $DATABASE (1/3: Odoo in Chinese)"
    odoo_job "$log" "making the database" db init --language zh_CN --country cn \
        --username "$LOGIN" --password "$PASSWORD" "$DATABASE"
    say "Making the database $DATABASE (2/3: the addon, sales, purchase)"
    odoo_job "$log" "installing the addon" -d "$DATABASE" -i wechat_merchant_bind,sale_management,purchase \
        --no-http --stop-after-init
    say "Making the database $DATABASE (3/3: merchants)"
    odoo_job "$RUN_DIR/demo_data.log" "setup/demo_data.py" shell -d "$DATABASE" --no-http <"$SETUP_DIR/demo_data.py"
}

update_demo_database() {
    say "The addon has changed: updating the database $DATABASE"
    odoo_job "$RUN_DIR/install.log" "updating the addon" -d "$DATABASE" -u wechat_merchant_bind --no-http --stop-after-init
}
