#!/bin/sh
# Starts Mosquitto in its container: makes the passwords and the list of who may do what from the environment.
set -eu
config=${CONFIG_FOLDER:-/mosquitto/config} run=${RUN_FOLDER:-/run/mosquitto} tls=${TLS_FOLDER:-/mqtt}
pipelines=${MQTT_PIPELINE_PASSWORD:-}

case "$PUBLISHED_ON" in
127.* | ::1 | localhost) ;;
*)
    for secret in "$MQTT_PASSWORD" "$pipelines"; do
        if [ "$secret" = laptop-only ]; then
            echo "set MQTT_PASSWORD and MQTT_PIPELINE_PASSWORD: everybody knows laptop-only" >&2
            exit 1
        fi
    done
    ;;
esac

umask 077
mosquitto_passwd -c -b "$run/passwd" "$MQTT_USER" "$MQTT_PASSWORD"
# Our own services say and hear everything; $SYS is the broker's own.
printf 'user %s\ntopic readwrite #\ntopic read $SYS/#\n' "$MQTT_USER" > "$run/acl"
if [ -n "$pipelines" ]; then
    if [ "$MQTT_PIPELINE_USER" = "$MQTT_USER" ]; then
        echo "MQTT_PIPELINE_USER must be another than MQTT_USER" >&2
        exit 1
    fi
    mosquitto_passwd -b "$run/passwd" "$MQTT_PIPELINE_USER" "$pipelines"
    # Strangers' pipelines hear orders, and answer by HTTP: they say nothing here.
    printf '\nuser %s\n' "$MQTT_PIPELINE_USER" >> "$run/acl"
    set -f
    for topic in $MQTT_PIPELINE_TOPICS; do
        printf 'topic read %s\n' "$topic" >> "$run/acl"
    done
fi

cp "$config/mosquitto.conf" "$run/mosquitto.conf"
if [ -f "$tls/services.pem" ]; then
    printf 'certfile %s/services.pem\nkeyfile %s/services.key\n' "$tls" "$tls" >> "$run/mosquitto.conf"
fi
exec mosquitto -c "$run/mosquitto.conf"
