#!/usr/bin/env bash
# See that there is a Chromium for the tests of the monitor's page; where we may, install it.
set -euo pipefail
for name in "${CMM_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    [ -n "$name" ] && command -v "$name" >/dev/null && exit
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit
fi
echo "no Chromium found: the tests need one; install it, or name it in CMM_CHROMIUM" >&2
exit 2
