#!/usr/bin/env bash
# A real Caddy with this configuration.
source ../gateway.sh
need caddy

# start LINE, BEFORE, QUESTION: with these lines of the README's, if any.
start() {
  sed "s|127.0.0.1:8080|$keytrail|; s|127.0.0.1:8081|$backend|; s|^:80 {|http://$front {\nbind ${front%:*}|; s|15s|1s|
    s|^.*vars keytrail asked|$1\n$2\n&|; s|^.*header_up X-Keytrail-Scope.*|&\n$3|" Caddyfile > "$work/Caddyfile.$front"
  XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work caddy run --adapter caddyfile --config "$work/Caddyfile.$front" 2> "$work/gateway.log" &
}
readme() { sed -n "/^$1/p" README.md; }

start "$(readme @org)" "$(readme vars)" "$(readme header_up)"
try_organizations
new_front
start "" "" ""
try_gateway
