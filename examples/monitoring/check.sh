#!/usr/bin/env bash
# The alerts are rules that Prometheus takes, and fire when they should and not before.
set -euo pipefail
command -v promtool > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; }

promtool check config prometheus.yml
promtool check rules alerts.yml
promtool test rules alerts_test.yml
