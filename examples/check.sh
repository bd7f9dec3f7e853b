#!/usr/bin/env bash
# Tries every example with the tool that it is for: each folder that has a check.sh is
# entered, and its check.sh run. A check.sh installs what it needs and fails without it.
set -euo pipefail
cd "$(dirname "$0")"

for check in */check.sh gateways/*/check.sh siem/*/check.sh; do
  echo "-- ${check%/check.sh}"
  (cd "$(dirname "$check")" && ./check.sh)
done
