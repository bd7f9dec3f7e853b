#!/usr/bin/env bash
# A real HAProxy with this configuration.
source ../gateway.sh
need haproxy
sed "s|abns@keytrail|&$$|" keytrail.lua > "$work/keytrail.lua"
sed "s|127.0.0.1:8080|$keytrail|; s|127.0.0.1:8081|$backend|; s|bind :80|bind $front|; s|abns@keytrail|&$$|; s|server 15s|server 1s|; s|lua-load-per-thread |&$work/|" haproxy.cfg > "$work/haproxy.cfg"
haproxy -f "$work/haproxy.cfg" 2> "$work/gateway.log" &
try_gateway
