# shellcheck shell=bash
# System packages, the only part that needs root.

# Asked once and aloud, since apt's own output goes to a file: a refusal would look like a failed download.
require_root() {
    ! is_root || return 0
    command -v sudo >/dev/null \
        || die "the packages '${MISSING_PACKAGES[*]}' are missing and neither root nor sudo is at hand to install them"
    sudo -- true || die "sudo refused; as root, install by hand what Debian calls: ${MISSING_PACKAGES[*]}"
}

# as_root COMMAND...
as_root() {
    if is_root; then
        "$@"
    else
        sudo -- "$@"
    fi
}

# Debian's postgresql package would create and start a cluster of its own ("main"), which is not wanted. In a
# subshell, whose traps take the setting away also after Ctrl-C and leave the script's own traps alone.
without_main_cluster() (
    setting=/etc/postgresql-common/createcluster.d/wechat_merchant_bind.conf
    trap 'as_root rm -f "$setting"' EXIT
    trap 'exit 130' INT TERM HUP
    as_root mkdir -p "${setting%/*}" && as_root sh -c "echo 'create_main_cluster = false' > $setting" && "$@"
)

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@" </dev/null >>"$APT_LOG" 2>&1
}

install_missing_packages() {
    local rc=0
    APT_LOG=$CACHE_DIR/log/apt.log
    command -v apt-get >/dev/null \
        || die "this machine has no apt-get; install by hand what Debian calls: ${MISSING_PACKAGES[*]}"
    require_space / 1000
    say "Installing system packages: ${MISSING_PACKAGES[*]}"
    require_root
    : >"$APT_LOG"
    # The lists of a fresh container are empty and those of an old one name files that are gone, so refresh first. One
    # unreachable third-party source must not stop us: only the installation's outcome counts.
    apt_get update || true
    without_main_cluster apt_get install -y --no-install-recommends "${MISSING_PACKAGES[@]}" || rc=$?
    [ "$rc" -ne 130 ] || exit 130
    [ "$rc" -eq 0 ] \
        || die "apt-get could not install ${MISSING_PACKAGES[*]} (no network?): read $APT_LOG"
}

# find_packages CHECK...: MISSING_PACKAGES becomes what the checks print.
find_packages() {
    local check
    MISSING_PACKAGES=()
    for check in "$@"; do
        mapfile -t -O "${#MISSING_PACKAGES[@]}" MISSING_PACKAGES < <("$check")
    done
}

# ensure_packages CHECK...: each check is a function that prints the Debian packages that are missing.
ensure_packages() {
    find_packages "$@"
    if [ "${#MISSING_PACKAGES[@]}" -gt 0 ]; then
        with_lock packages install_missing_packages
        find_packages "$@"
        [ "${#MISSING_PACKAGES[@]}" -eq 0 ] || die "still missing after the installation: ${MISSING_PACKAGES[*]}"
    fi
}
