/** Looking again and again: a page that is drawn over itself at a terminal, else a block for every change. */
import { setTimeout as delay } from 'node:timers/promises';
import { openScreen, type Screen } from '../report/screen.js';
import type { CommandContext } from './context.js';
import { interruptedBy } from './errors.js';
import { EXIT } from './exit-codes.js';

/** What one look gives. */
export interface Frame {
  /** As it is printed, with a newline at the end. */
  readonly text: string;
  /** The same as long as nothing but time has passed. */
  readonly key: string;
  /** Nothing more will happen by itself. */
  readonly last: boolean;
  readonly exitCode: number;
}

const INTERVAL_MS = 1_000;

/**
 * Shows what `look` gives until its last frame, an interrupt (130, 143) or the end of whoever reads stdout.
 * Nothing is held between two looks.
 */
export async function watch(ctx: CommandContext, look: () => Promise<Frame>): Promise<number> {
  const { signal, outputClosed } = ctx;
  const stop = AbortSignal.any([signal, outputClosed]);
  const animates = ctx.isTerminal.stdout && !ctx.json && ctx.env.TERM !== 'dumb';
  let screen: Screen | null = null;
  let shown: Frame | null = null;
  try {
    for (;;) {
      const frame = await look();
      // Ctrl-C also ends the programs that a look asks: what it saw then is not what is there.
      if (stop.aborted && shown !== null) break;
      if (animates) screen ??= openScreen();
      if (screen !== null) screen.draw(frame.text);
      else if (frame.key !== shown?.key) ctx.stdout(`${shown === null || ctx.json ? '' : '\n'}${frame.text}`);
      shown = frame;
      if (frame.last || stop.aborted) break;
      await delay(INTERVAL_MS, undefined, { signal: stop }).catch(() => {});
      if (stop.aborted) break;
    }
  } finally {
    screen?.close();
  }
  if (screen !== null) ctx.stdout(shown.text);
  const interrupted = interruptedBy(signal);
  if (interrupted !== null) return interrupted === 'SIGINT' ? EXIT.sigint : EXIT.sigterm;
  return outputClosed.aborted ? EXIT.done : shown.exitCode;
}
