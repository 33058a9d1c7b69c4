#!/bin/sh
# Print running, success or failed for a job's id.
state=$(squeue --noheader --states=all --format=%T --job="$1" 2>/dev/null)
[ -n "$state" ] || state=$(sacct --noheader --parsable2 --allocations --format=State --jobs="$1" 2>/dev/null)
case "$state" in
    COMPLETED) echo success ;;
    PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | REQUEUED) echo running ;;
    *) echo failed ;;
esac
