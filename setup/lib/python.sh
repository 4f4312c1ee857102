# shellcheck shell=bash
# The virtual environment: one folder per content of the requirements file, Python and Odoo, so that clones of different
# age can share the cache without taking each other's packages away.

missing_python_packages() { find_python >/dev/null || printf '%s\n' python3 python3-venv; }

# A Python that Odoo 19.0 and our pins support and that can make virtual environments (Debian splits ensurepip off).
# Debian's own comes first: the pins were resolved for it. The one that imports Odoo (the official image) wins over it.
find_python() {
    local candidate
    for candidate in ${IMPORTING_PYTHON:-} /usr/bin/python3 python3 python3.12 python3.11 python3.13; do
        if command -v "$candidate" >/dev/null && "$candidate" -c \
            'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# pip_install LOG REQUIREMENTS_FILE. Python compiles what it imports, which is less than all.
pip_install() {
    PIP_CACHE_DIR=$CACHE_DIR/pip "$VENV_DIR/bin/python" -m pip install --disable-pip-version-check --no-input --no-compile \
        -r "$2" >"$1" 2>&1 \
        || die "pip could not install $2 (no network?): read $1"
}

install_test_requirements() {
    [ ! -e "$VENV_DIR/$1" ] || return 0
    require_space "$CACHE_DIR" 500
    say "Installing the test tools (150 MB)"
    pip_install "$CACHE_DIR/log/pip-test.log" "$SETUP_DIR/requirements-test.txt"
    touch "$VENV_DIR/$1"
}

# Call after ensure_venv.
ensure_test_requirements() {
    local stamp
    stamp=.complete-test-$(hash_of "$SETUP_DIR/requirements-test.txt")
    [ -e "$VENV_DIR/$stamp" ] || with_lock venv install_test_requirements "$stamp"
}

make_venv() {
    local python=$1
    [ ! -e "$VENV_DIR/.complete" ] || return 0
    require_space "$CACHE_DIR" 800
    say "Installing the Python requirements (250 MB)"
    # Without its stamp this folder is what an interrupted run left behind.
    rm -rf -- "$VENV_DIR"
    find "$CACHE_DIR" -maxdepth 1 -name 'venv-*' -mtime +30 -exec rm -rf -- {} +
    quietly "$CACHE_DIR/log/venv.log" "making a virtual environment with $python" "$python" -m venv "$VENV_DIR"
    pip_install "$CACHE_DIR/log/pip.log" "$SETUP_DIR/requirements-odoo.txt"
    # A .pth file, not PYTHONPATH: the tree may be the machine's dist-packages, whose libraries must not win over our pins.
    local site
    site=$("$VENV_DIR/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$ODOO_TREE" >"$site/odoo-tree.pth"
    touch "$VENV_DIR/.complete"
}

# Sets VENV_DIR. Call after locate_odoo_source.
ensure_venv() {
    local python
    python=$(find_python) || die "no Python 3.11 to 3.13 with the module venv found"
    VENV_DIR=$CACHE_DIR/venv-$(hash_of "$SETUP_DIR/requirements-odoo.txt" <(readlink -f -- "$python" && echo "$ODOO_TREE"))
    [ -e "$VENV_DIR/.complete" ] || with_lock venv make_venv "$python"
    # The folder's time is that of its last use: make_venv removes those that were unused for a month.
    touch "$VENV_DIR"
}
