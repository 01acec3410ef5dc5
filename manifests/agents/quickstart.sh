# A small agent: it reads its brief, makes one commit and says that it is done.
set -eu

echo "brief: $METAWSM_BRIEF"
goal="$(sed -n '/[Gg]oal/,$p' "$METAWSM_BRIEF" | head -n 5)"

{
  echo "# Hello"
  echo
  echo "Made by $METAWSM_AGENT for $METAWSM_TICKET, in attempt $METAWSM_ATTEMPT. What the brief asked for:"
  echo
  echo "$goal" | sed 's/^/> /'
} > hello.md

# A machine without a git identity can still try this.
git config user.email > /dev/null || export GIT_AUTHOR_EMAIL=agent@localhost GIT_COMMITTER_EMAIL=agent@localhost
git config user.name > /dev/null || export GIT_AUTHOR_NAME=agent GIT_COMMITTER_NAME=agent
git add hello.md
git diff --cached --quiet || git commit --quiet --message "Say hello"

metawsm signal complete --summary "hello.md is committed"
