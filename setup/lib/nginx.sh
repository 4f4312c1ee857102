# shellcheck shell=bash
# The nginx that the tests put before Odoo, with the configuration of docker-compose.yml, and what fills that in.

missing_nginx_packages() {
    command -v envsubst >/dev/null || echo gettext-base
    command -v openssl >/dev/null || echo openssl
}

# Debian's package, unpacked and not installed: installed it would serve port 80 of this machine from then on. What it links
# to is part of every Debian that has Python.
download_nginx() {
    local apt=(apt-get -q -o APT::Sandbox::User="$(id -un)" download nginx)
    cd -- "$1" || return
    # Where the lists are empty or name files that are gone, as in ensure_packages.
    "${apt[@]}" || {
        require_root
        apt_get update || true
        "${apt[@]}"
    }
}

make_cached_nginx() {
    local work
    [ ! -x "$NGINX_BIN" ] || return 0
    command -v dpkg-deb >/dev/null || die "no nginx found: install it with the machine's own package manager"
    say "Downloading nginx"
    work=$(mktemp -d -- "$CACHE_DIR/nginx-download.XXXXXX")
    # shellcheck disable=SC2034  # read by system.sh
    APT_LOG=$CACHE_DIR/log/apt.log MISSING_PACKAGES=(nginx)
    (download_nginx "$work") >"$CACHE_DIR/log/nginx-download.log" 2>&1 \
        || die "could not download nginx (no network?): read $CACHE_DIR/log/nginx-download.log"
    dpkg-deb -x "$work"/nginx_*.deb "$work/tree"
    chmod -R a+rX "$work"
    rm -rf -- "$CACHE_DIR/nginx"
    mv -- "$work/tree" "$CACHE_DIR/nginx"
    rm -rf -- "$work"
}

# Sets NGINX_BIN: the machine's own nginx, else the cache's.
ensure_nginx() {
    NGINX_BIN=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx) && return
    NGINX_BIN=$CACHE_DIR/nginx/usr/sbin/nginx
    [ -x "$NGINX_BIN" ] || with_lock nginx make_cached_nginx
}
