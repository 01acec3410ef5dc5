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
  dirty)
    echo "half an idea" > idea.md
    ;;
esac

exec sh "$METAWSM_MANIFEST_DIR/agents/quickstart.sh"
