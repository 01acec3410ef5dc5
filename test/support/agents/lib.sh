# What the small agents of the tests share. RIG_DIR is the test's own folder.

# Every start leaves a line, so that a test can count starts whoever caused them.
echo "$METAWSM_AGENT $METAWSM_ATTEMPT $$" >> "$RIG_DIR/starts"

# wait_for FILE: until it exists
wait_for() {
  until [ -e "$1" ]; do sleep 0.05; done
}

# sentinel NAME JSON: written as agents should, by rename
sentinel() {
  printf '%s' "$2" > "$METAWSM_SENTINEL_DIR/.$1.$$"
  mv "$METAWSM_SENTINEL_DIR/.$1.$$" "$METAWSM_SENTINEL_DIR/$1"
}

# commit FILE TEXT: in the working directory, where that is a worktree
commit() {
  git rev-parse --is-inside-work-tree > /dev/null 2>&1 || return 0
  printf '%s\n' "$2" > "$1"
  git add -- "$1"
  git commit -q -m "Add $1" || exit 9
}
