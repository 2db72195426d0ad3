#!/usr/bin/env bash
# What the tests start: Redis, Mosquitto, PostgreSQL, Prometheus, and Chromium with fonts for Latin and Chinese. What is
# absent is installed from the system's packages.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v mosquitto >/dev/null || missing+=(mosquitto)
command -v postgres >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || missing+=(postgresql)
command -v promtool >/dev/null || missing+=(prometheus)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
has_font() { command -v fc-list >/dev/null && [ -n "$(fc-list "$1" 2>/dev/null)" ]; }
has_font ":lang=en" || missing+=(fonts-dejavu-core)
has_font ":lang=zh-cn" || missing+=(fonts-wqy-microhei) # a twentieth of what Noto's fonts take
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    install=("${as_root[@]}" apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120)
    "${install[@]}" "${missing[@]}" >/dev/null 2>&1 || {
        "${as_root[@]}" apt-get update -qq
        "${install[@]}" "${missing[@]}" >/dev/null
    }
else
    echo "the tests start real servers and a browser: install ${missing[*]} with your system's packages, then run this again" >&2
    exit 1
fi
