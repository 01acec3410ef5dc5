# agent.sh ASKS: leaves a line per start; with ASKS=ask it asks once and takes the answer; then it works on until
# it is released, commits and says that it is done. RIG_DIR is the world's own folder.
echo "$METAWSM_AGENT $METAWSM_ATTEMPT $$" >> "$RIG_DIR/starts"
cd "$METAWSM_SENTINEL_DIR" || exit 9
if [ "$1" = ask ] && [ ! -e "$RIG_DIR/answered" ]; then
  printf '%s' '{"request_id": "q1", "question": "Which colour?"}' > .asking
  mv .asking guidance-request.json
  until [ -e guidance-response.json ]; do sleep 0.02; done
  mv guidance-response.json "$RIG_DIR/answered"
fi
echo "working as $METAWSM_AGENT"
touch "$RIG_DIR/alive-$METAWSM_AGENT-$METAWSM_ATTEMPT"
until [ -e "$RIG_DIR/release" ]; do sleep 0.05; done
cd "$METAWSM_WORKSPACE/api" || exit 8
# One after the other, so that the commits are the same in every world.
until [ "$METAWSM_AGENT" = first ] || [ -e "$RIG_DIR/committed-first" ]; do sleep 0.02; done
printf '%s\n' "$METAWSM_AGENT" > "work-$METAWSM_AGENT.txt"
git add -- "work-$METAWSM_AGENT.txt" && git commit -q -m "Work of $METAWSM_AGENT" || exit 7
touch "$RIG_DIR/committed-$METAWSM_AGENT"
metawsm signal complete --summary released || exit 6
