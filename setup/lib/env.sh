# shellcheck shell=bash
# From a bare machine to an environment in which Odoo runs. Sourced by the commands; `enter_environment` does it all.

# shellcheck source=setup/lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=setup/lib/system.sh
. "$SETUP_DIR/lib/system.sh"
# shellcheck source=setup/lib/odoo_source.sh
. "$SETUP_DIR/lib/odoo_source.sh"
# shellcheck source=setup/lib/python.sh
. "$SETUP_DIR/lib/python.sh"
# shellcheck source=setup/lib/postgres.sh
. "$SETUP_DIR/lib/postgres.sh"

# Odoo reads this file in every sub command, also in those that take no --addons-path.
write_odoo_conf() {
    export ODOO_RC=$RUN_DIR/odoo.conf
    local addons=$REPO_DIR
    [ ! -d "$ODOO_TREE/addons" ] || addons=$ODOO_TREE/addons,$REPO_DIR
    printf '[options]\naddons_path = %s\ndata_dir = %s\nhttp_interface = 127.0.0.1\n' \
        "$addons" "$CACHE_DIR/odoo-data" >"$ODOO_RC.$$"
    mv -- "$ODOO_RC.$$" "$ODOO_RC"
    export ODOO_ADDONS_PATH=$addons
}

# Leaves an outer `setup/run` behind: its virtual environment must not be taken for the machine's own Python.
forget_outer_environment() {
    PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v "^$CACHE_DIR/" | paste -sd:)
    unset PYTHONPATH PYTHONHOME VIRTUAL_ENV ODOO_RC
    # Without compiled files every start of Odoo takes seconds longer.
    unset PYTHONDONTWRITEBYTECODE
}

# Side by side: one downloads while the other unpacks. Odoo's source comes to its end also if this script is interrupted;
# the next one finds it, or waits for it. It must not hold the demo's lock that long.
ensure_odoo_and_python() {
    local source
    locate_odoo_source
    ([ -z "$START_FD" ] || exec {START_FD}>&-; ensure_odoo_source) &
    source=$!
    ensure_venv
    wait "$source" || exit 1
}

# enter_environment [PACKAGE_CHECK...]
enter_environment() {
    prepare_folders
    forget_outer_environment
    ensure_packages missing_python_packages missing_postgres_packages "$@"
    require_cluster_folder
    ensure_odoo_and_python
    ensure_cluster
    write_odoo_conf
    export PATH=$VENV_DIR/bin:$PG_BIN:$PATH VIRTUAL_ENV=$VENV_DIR ODOO_TREE ODOO_BIN=$SETUP_DIR/lib/odoo-bin
}
