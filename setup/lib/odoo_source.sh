# shellcheck shell=bash
# Odoo 19.0: ODOO_PATH, else what Python imports, else the package odoo-19 of Debian's suite sid, unpacked into the cache.

# Raised when the way the tree is made changes, so that old caches are not taken for good ones.
ODOO_TREE_FORMAT=1

is_odoo_19() { grep -qsE '^version_info = \(19, 0,' "$1/odoo/release.py"; }

# The tree's place once unpacked; the Debian package keeps usr/… because its links point out of its own folder.
cached_tree() { printf '%s\n' "$CACHE_DIR/odoo-19.0-$ODOO_TREE_FORMAT/usr/lib/python3/dist-packages"; }

importable_tree() {
    local python
    python=$(command -v python3) || return 1
    (cd / && "$python" -c 'import odoo, os; print(os.path.dirname(list(odoo.__path__)[0]))') 2>/dev/null
}

# A private apt that needs no root and leaves the machine's own sources alone. Debian's keyring verifies both suites.
private_apt() {
    local work=$1
    shift
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}

# The Debian mirror that this machine is set up for.
debian_mirror() {
    local mirror
    # shellcheck disable=SC2016  # the format is apt's, not the shell's
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    if [ -z "$mirror" ]; then
        mirror=$(apt-get update --print-uris | sed -n "s|^'\(.*\)/dists/.*|\1|p" | head -n 1)
    fi
    printf '%s\n' "$mirror"
}

# Font Awesome must be Debian 12's 4.7, the version Odoo's styles are written for; the others go with it.
download_packages() {
    local work=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
    mirror=$(debian_mirror)
    [ -n "$mirror" ] && [ -e "$keyring" ] || return 1
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" sid "$keyring" "$mirror" bookworm >"$work/sources.list"
    private_apt "$work" update
    (cd -- "$work" && private_apt "$work" download odoo-19/sid libjs-jquery/bookworm libjs-jquery-form/bookworm \
        libjs-underscore/bookworm fonts-font-awesome/bookworm fonts-roboto-unhinted/bookworm)
}

# The package carries every language twice over; Chinese is all that is used here and saves 0.8 GB.
unpack_tree() {
    local work=$1 tree=$1/tree deb
    mkdir -p "$tree"
    dpkg-deb --fsys-tarfile "$work"/odoo-19_*.deb | tar -x -C "$tree" --exclude='./usr/lib/python3/dist-packages/addons' \
        --exclude='*/i18n/[a-y]*.po' --exclude='*/i18n/z[!h]*.po'
    for deb in "$work"/libjs-*.deb "$work"/fonts-*.deb; do
        dpkg-deb -x "$deb" "$tree"
    done
    # Debian's free-software rules removed this file; without it every web page logs an error and every tour fails.
    local missing=$tree/usr/lib/python3/dist-packages/odoo/addons/mail/static/lib/selfie_segmentation
    mkdir -p "$missing"
    touch "$missing/selfie_segmentation.js"
}

make_cached_tree() {
    local work
    ! is_odoo_19 "$(cached_tree)" || return 0
    require_space "$CACHE_DIR" 1500
    say "Downloading Odoo 19.0 (120 MB)"
    rm -rf -- "$CACHE_DIR"/odoo-download.*
    work=$(mktemp -d -- "$CACHE_DIR/odoo-download.XXXXXX")
    download_packages "$work" >"$CACHE_DIR/log/odoo-download.log" 2>&1 \
        || die "could not download Odoo 19.0 (no network? read $CACHE_DIR/log/odoo-download.log); or set ODOO_PATH to its source tree"
    say "Unpacking Odoo 19.0"
    unpack_tree "$work"
    chmod -R a+rX "$work/tree"
    # Renamed only when complete: an interrupted run never leaves half a tree under the final name.
    rm -rf -- "$CACHE_DIR/odoo-19.0-$ODOO_TREE_FORMAT"
    mv -- "$work/tree" "$CACHE_DIR/odoo-19.0-$ODOO_TREE_FORMAT"
    rm -rf -- "$work"
}

# Sets ODOO_TREE, the folder that holds the Python package `odoo`, or will hold it once ensure_odoo_source has made it, and
# IMPORTING_PYTHON if a Python brought it along.
locate_odoo_source() {
    IMPORTING_PYTHON=
    if [ -n "${ODOO_PATH:-}" ]; then
        is_odoo_19 "$ODOO_PATH" || die "ODOO_PATH=$ODOO_PATH holds no Odoo 19.0 (no odoo/release.py of that version)"
        ODOO_TREE=$(cd -- "$ODOO_PATH" && pwd -P)
    elif ODOO_TREE=$(importable_tree) && is_odoo_19 "$ODOO_TREE"; then
        # shellcheck disable=SC2034  # read by python.sh
        IMPORTING_PYTHON=$(command -v python3)
    else
        ODOO_TREE=$(cached_tree)
    fi
}

# Call after locate_odoo_source.
ensure_odoo_source() {
    is_odoo_19 "$ODOO_TREE" && return
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
        || die "no Odoo 19.0 found: set ODOO_PATH to an Odoo 19.0 source tree"
    with_lock odoo-source make_cached_tree
}
