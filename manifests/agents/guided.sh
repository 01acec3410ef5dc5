# An agent that asks: the command waits until the operator has answered, and prints the answer.
# Started again after a crash it asks the same, and gets the answer that was given meanwhile.
set -eu

answer="$(metawsm signal guidance --question "In which format do you want the note?" --wait)"

{
  echo "# Note"
  echo
  echo "The operator asked for this format:"
  echo
  printf '%s\n' "$answer" | sed 's/^/> /'
} > "$NOTE_FILE"

git config user.email > /dev/null || export GIT_AUTHOR_EMAIL=agent@localhost GIT_COMMITTER_EMAIL=agent@localhost
git config user.name > /dev/null || export GIT_AUTHOR_NAME=agent GIT_COMMITTER_NAME=agent
git add "$NOTE_FILE"
git diff --cached --quiet || git commit --quiet --message "Write the note"

metawsm signal complete --summary "The note is written as asked"
