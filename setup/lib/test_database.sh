# shellcheck shell=bash
# The tests' databases: one installed template per content of the addon, and cheap copies of it.

# What a template is called and what is installed into it; setup/bench has another.
TEMPLATE_PREFIX=wechat_test
TEMPLATE_ARGUMENTS=(-i wechat_merchant_bind --with-demo)

# Two runs of one clone may go on at the same time, also with a changed addon, so nothing is ever rebuilt in place.
template_name() {
    printf '%s_%s_%s\n' "$TEMPLATE_PREFIX" "$(clone_hash)" "$(hash_of <(addon_hash) <(echo "$VENV_DIR"))"
}

our_databases() {
    psql -d postgres -Atc "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname LIKE '$1%'"
}

# Copies of runs that were killed, and templates of earlier states of the addon; the hour keeps those that another run
# may still be copying.
drop_leftovers() {
    local database comment made
    while IFS='|' read -r database comment; do
        [ -e "/proc/${database##*_}" ] || drop_database "$database"
    done < <(our_databases "wechat_test_run_$(clone_hash)_")
    while IFS='|' read -r database comment; do
        made=${comment#complete }
        if [[ $made =~ ^[0-9]+$ ]] && [ "$made" -lt "$(($(date +%s) - 3600))" ] && [ "$database" != "$TEMPLATE" ]; then
            drop_database "$database"
        fi
    done < <(our_databases "${TEMPLATE_PREFIX}_$(clone_hash)_")
}

make_template() {
    [[ $(database_comment "$TEMPLATE") != "complete "* ]] || return 0
    say "Installing the addon into a database for the tests"
    drop_database "$TEMPLATE"
    odoo_job "$TEST_DIR/install.log" "installing the addon" -d "$TEMPLATE" "${TEMPLATE_ARGUMENTS[@]}" \
        --load-language zh_CN --no-http --stop-after-init
    set_database_comment "$TEMPLATE" "complete $(date +%s)"
}

# copy_template NAME: a database of its own with the template's filestore.
copy_template() {
    local filestore=$CACHE_DIR/odoo-data/filestore
    createdb -T "$TEMPLATE" "$1"
    [ ! -d "$filestore/$TEMPLATE" ] || cp -a -- "$filestore/$TEMPLATE" "$filestore/$1"
}
