# ask-and-exit.sh QUESTION: asks by file and ends; started again with an answer it takes it and says it is done
. "$(dirname "$0")/lib.sh"
response="$METAWSM_SENTINEL_DIR/guidance-response.json"
if [ -e "$response" ]; then
  cat "$response" > "$RIG_DIR/response-$METAWSM_AGENT.json"
  rm "$response"
  sentinel implementation-complete.json '{"summary": "answered"}'
else
  sentinel guidance-request.json "{\"question\": \"$1\", \"context\": {\"files\": [\"a.ts\", 2]}}"
fi
