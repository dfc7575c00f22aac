# Sourced by the scripts beside it.

. "$here/../../tests/services/common.sh"

# Where the jars lie; KAFKA_JARS names another directory.
jars=${KAFKA_JARS:-$here/../../target/kafka-jars}

# Runs a class of Kafka's.
kafka_run() {
    java ${KAFKA_HEAP:--Xms384m -Xmx384m} -cp "$jars/*" -Dlog4j2.configurationFile="$here/log4j2.properties" "$@"
}

# The process of node N in DIR, if it lives and is Kafka: a pid file may be older than the machine's last start.
node_pid() {
    local pid
    pid=$(cat "$1/$2/pid" 2>/dev/null) || return 1
    grep -qs kafka.Kafka "/proc/$pid/cmdline" || return 1
    echo "$pid"
}
