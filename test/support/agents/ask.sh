# ask.sh QUESTION…: asks one after the other, waits for each answer, then says it is done
. "$(dirname "$0")/lib.sh"
for question in "$@"; do
  answer="$(metawsm signal guidance --question "$question" --wait)" || exit 6
  printf '%s => %s\n' "$question" "$answer" >> "$RIG_DIR/answers-$METAWSM_AGENT"
done
metawsm signal complete --summary "asked $#" || exit 7
