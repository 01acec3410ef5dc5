# die-first.sh CODE: ends with CODE in its first attempt when the test says so, completes in later ones
. "$(dirname "$0")/lib.sh"
if [ "$METAWSM_ATTEMPT" = 1 ]; then
  wait_for "$RIG_DIR/die"
  exit "$1"
fi
metawsm signal complete --summary "attempt $METAWSM_ATTEMPT" || exit 7
