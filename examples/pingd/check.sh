#!/usr/bin/env bash
# Plays the transcript against a real service behind a real nginx.
set -euo pipefail
command -v nginx > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light; }
go run ../play .
