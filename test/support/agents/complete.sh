# complete.sh [SUMMARY]: reads the brief, makes a commit and says it is done
. "$(dirname "$0")/lib.sh"
cat "$METAWSM_BRIEF" > "$RIG_DIR/brief-seen-$METAWSM_AGENT" || exit 8
echo "working as $METAWSM_AGENT"
commit "work-$METAWSM_AGENT.txt" "attempt $METAWSM_ATTEMPT"
metawsm signal complete --summary "${1:-done}" || exit 7
