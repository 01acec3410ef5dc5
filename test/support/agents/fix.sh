# fix.sh [FROM]: commits result.txt with the number of its attempt; from attempt FROM on also `good`
. "$(dirname "$0")/lib.sh"
cp "$METAWSM_SENTINEL_DIR/operator-feedback.md" "$RIG_DIR/feedback-$METAWSM_AGENT-$METAWSM_ATTEMPT" 2> /dev/null
[ "$METAWSM_ATTEMPT" -lt "${1:-2}" ] || [ -e good ] || commit good yes
commit result.txt "attempt $METAWSM_ATTEMPT"
metawsm signal complete --summary "attempt $METAWSM_ATTEMPT" || exit 7
