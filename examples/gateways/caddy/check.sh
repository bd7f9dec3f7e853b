#!/usr/bin/env bash
# A real Caddy with this configuration.
source ../gateway.sh
need caddy
sed "s|127.0.0.1:8080|$keytrail|; s|127.0.0.1:8081|$backend|; s|^:80 |http://$front |; s|15s|1s|" Caddyfile > "$work/Caddyfile"
XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work caddy run --adapter caddyfile --config "$work/Caddyfile" 2> "$work/gateway.log" &
try_gateway
