#!/usr/bin/env bash
# The unit is one that systemd understands, and it is confined: an exposure of 2 or less of 10.
set -euo pipefail
command -v systemd-analyze > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The program need not be installed where the check runs.
sed "s|^ExecStart=/usr/local/bin/keytrail|ExecStart=$(command -v true)|" keytrail.service > "$work/keytrail.service"
systemd-analyze verify "$work/keytrail.service"
systemd-analyze security --offline=true --threshold=20 "$work/keytrail.service" | tail -n 1
