# live.sh: works until the test releases it, then makes a commit and says it is done
. "$(dirname "$0")/lib.sh"
echo "alive as $METAWSM_AGENT"
touch "$RIG_DIR/alive-$METAWSM_AGENT-$METAWSM_ATTEMPT"
wait_for "$RIG_DIR/release-$METAWSM_AGENT"
commit "work-$METAWSM_AGENT.txt" "attempt $METAWSM_ATTEMPT"
metawsm signal complete --summary released || exit 7
