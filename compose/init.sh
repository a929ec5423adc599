#!/bin/sh
# The one-shot `init`: makes keys, credentials, passwords and server configuration where they are missing, and gives each
# service a volume with its own and nothing else. The keys stay in /site. A repeat changes nothing that is in use.
set -eu

ordo setup --dir /site --agent local --user ops --store /data --monitoring 127.0.0.1:8222

# give VOLUME FILE [NAME]: whole or not at all, readable by the group, writable by nobody.
give() {
    install -m 0440 "$2" "/volume/$1/.new"
    mv "/volume/$1/.new" "/volume/$1/${3:-$(basename "$2")}"
}

give nats /site/nats.conf
give postgres /site/postgres/init.sql
give postgres /site/secrets/database-postgres password
give migrate /site/secrets/database-ordo
give controller /site/creds/controller.creds
give proxy /site/creds/proxy.creds
for service in history daily-plan monitor cleanup log-notification; do
    give "$service" "/site/creds/$service.creds"
    give "$service" "/site/secrets/database-ordo_$(echo "$service" | tr - _)"
done
give agent /site/creds/agent-local.creds
give people /site/creds/ops.creds

# The secret of the `backup` example: the address of Ordo's own database, for the role that may read all of it.
umask 077
printf 'postgres://ordo_backup:%s@postgres:5432/ordo\n' "$(cat /site/secrets/database-ordo_backup)" >/tmp/ordo-database
give secrets /tmp/ordo-database
rm /tmp/ordo-database

# What a server writes to must belong to its user before it starts.
touch /volume/nats-data/.ordo
