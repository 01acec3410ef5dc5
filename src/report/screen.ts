/** A page at a terminal that is drawn over itself, on the alternate screen: what was there before comes back. */
import { writeSync } from 'node:fs';

export interface Screen {
  /** Shows a text from the top. What does not fit is cut off. */
  draw(text: string): void;
  /** Gives the terminal back as it was. Twice is fine. */
  close(): void;
}

// Lines do not wrap while a page is shown: each is one row, however wide the terminal is.
const OPEN = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const CLOSE = '\u001b[?7h\u001b[?25h\u001b[?1049l';

/** Takes stdout's terminal over until `close`, or the end of the process, whatever ends it. */
export function openScreen(): Screen {
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    process.off('exit', close);
    write(CLOSE);
  };
  process.on('exit', close);
  write(OPEN);
  return {
    draw(text) {
      const rows = process.stdout.rows || 24;
      const lines = text.trimEnd().split('\n');
      const fitting = lines.length > rows ? [...lines.slice(0, rows - 1), '…'] : lines;
      const page = fitting.map((line) => `${line}\u001b[0m\u001b[K`).join('\n');
      // In one piece, from the top, the rest cleared: nothing flickers.
      write(`\u001b[H${page}\u001b[J`);
    },
    close,
  };
}

/** At once: an exit must not lose it. */
function write(text: string): void {
  try {
    writeSync(1, text);
  } catch {
    // The terminal is gone.
  }
}
