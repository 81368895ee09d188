#!/bin/sh
# What each machine of docker/tiers needs once, before its programs run: "begin.sh field". Safe to repeat.
# Codes are handed from container to container in a folder, where people would carry them: each is good for one use.
set -eu
state=/var/lib/dbsync
codes=/run/codes

# invited WHO WORDS...: let WHO come, with the command that prints a code; not again if that was done.
invited() {
    who=$1
    shift
    [ -s "$codes/$who" ] || { "$@" > "$codes/$who.new" && mv "$codes/$who.new" "$codes/$who"; }
}

# once WHAT WORDS...: do it unless it was done before.
once() {
    what=$1
    shift
    [ -e "$state/$what" ] || { "$@" && touch "$state/$what"; }
}

case "$1" in
central)
    once keys dbsync nodes keys --new
    dbsync install-upstream --here
    invited community-at-central dbsync nodes invite community --passes-on
    ;;
community)
    once keys dbsync nodes keys --new
    dbsync install-upstream --here
    dbsync install-triggers
    once enrolled dbsync enrol https://central:8443 "$(cat $codes/community-at-central)"
    invited field-at-community dbsync nodes invite field-01
    invited driver-at-community dbsync nodes invite driver --relay
    dbsync backfill
    ;;
relay)
    once relay.toml dbsync relay init driver --folder $state
    cp /etc/dbsync/relay.toml $state/relay.toml
    once enrolled dbsync relay enrol https://community:8443 "$(cat $codes/driver-at-community)" --folder $state
    invited field-at-driver dbsync relay invite field-01 --folder $state
    ;;
field)
    once keys dbsync nodes keys --new
    dbsync install-triggers
    once enrolled dbsync enrol https://community:8443 "$(cat $codes/field-at-community)"
    once enrolled-with-driver dbsync enrol --relay https://relay:8443 "$(cat $codes/field-at-driver)"
    dbsync backfill
    ;;
esac
