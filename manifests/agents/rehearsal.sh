# An agent that goes wrong as $REHEARSE says (see ../rehearsal.yaml), and does its work otherwise.
set -eu

case "${REHEARSE:-}" in
  fail)
    echo "error: usage limit reached"
    exit 7
    ;;
  silent)
    echo "I think I am done."
    exit 0
    ;;
  slow)
    echo "working ..."
    exec sleep 3600
    ;;
  broken)
    : > hello.md
    git config user.email > /dev/null || export GIT_AUTHOR_EMAIL=agent@localhost GIT_COMMITTER_EMAIL=agent@localhost
    git config user.name > /dev/null || export GIT_AUTHOR_NAME=agent GIT_COMMITTER_NAME=agent
    git add hello.md
    git diff --cached --quiet || git commit --quiet --message "Say hello"
    metawsm signal complete --summary "hello.md is there"
    exit
    ;;
  dirty)
    echo "half an idea" > idea.md
    ;;
esac

exec sh "$METAWSM_MANIFEST_DIR/agents/quickstart.sh"
