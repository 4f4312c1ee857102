# shellcheck shell=bash
# The demo's database.

demo_database_name() { printf 'wechat_demo_%s\n' "$(clone_hash)"; }

# The ports are part of it: they are written into the database (webhook address, API address).
demo_stamp() { printf 'ports=%s,%s' "$PORT" "$SANDBOX_PORT"; }

make_demo_database() {
    local log=$RUN_DIR/install.log
    require_space "$PG_DIR" 500
    drop_database "$DATABASE"
    say "Making the database $DATABASE (1/3: Odoo in Chinese)"
    odoo_job "$log" "making the database" db init --language zh_CN --country cn \
        --username "$LOGIN" --password "$PASSWORD" "$DATABASE"
    say "Making the database $DATABASE (2/3: the addon, sales, purchase)"
    odoo_job "$log" "installing the addon" -d "$DATABASE" -i wechat_merchant_bind,sale_management,purchase \
        --no-http --stop-after-init
    say "Making the database $DATABASE (3/3: merchants)"
    odoo_job "$RUN_DIR/demo_data.log" "setup/demo_data.py" shell -d "$DATABASE" --no-http <"$SETUP_DIR/demo_data.py"
}

# Odoo must run: its cron sends.
send_demo_messages() {
    say "Notifying merchants about orders"
    odoo_job "$RUN_DIR/messages.log" "setup/demo_messages.py" shell -d "$DATABASE" --no-http <"$SETUP_DIR/demo_messages.py"
}

# What happened within a minute is dated back over two months, so that the statistics have something to show.
spread_demo_history() {
    psql -d "$DATABASE" -qX --set ON_ERROR_STOP=1 --single-transaction -f "$SETUP_DIR/demo_history.sql" >"$RUN_DIR/history.log" 2>&1 \
        || die "dating the demo's history back failed: read $RUN_DIR/history.log"
}

update_demo_database() {
    say "The addon has changed: updating the database $DATABASE"
    odoo_job "$RUN_DIR/install.log" "updating the addon" -d "$DATABASE" -u wechat_merchant_bind --no-http --stop-after-init
}
