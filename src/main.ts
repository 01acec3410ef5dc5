#!/usr/bin/env node
/** The composition root: reads the command line, runs one command, and sets the exit code. */
import { existsSync, readFileSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';

const words = process.argv.slice(2);
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

if (words.length === 1 && (words[0] === '--version' || words[0] === '-v')) {
  // Nothing else is loaded for this.
  process.stdout.write(`metawsm ${version}\n`);
} else {
  // Node 20 has none. A temporary directory that is missing would be made for it.
  if (existsSync(tmpdir()))
    (module as { readonly enableCompileCache?: () => unknown }).enableCompileCache?.();
  process.exitCode = await main();
}

async function main(): Promise<number> {
  // Agents, setup commands and criteria get the environment as it was; only metawsm's own git must not ask.
  const env = Object.freeze({ ...process.env });
  process.env.GIT_TERMINAL_PROMPT = '0';

  const { createContext, guardOutput, listenForInterrupts, restoreCursor } = await import('./cli/context.js');
  const { showError } = await import('./cli/errors.js');
  const outputClosed = guardOutput();
  const interrupts = listenForInterrupts();
  const fail = async (error: unknown): Promise<number> => {
    const { wantsJson } = await import('./cli/args.js');
    return showError(error, { words, env, json: wantsJson(words) });
  };
  process.on('uncaughtException', (error) => {
    restoreCursor();
    void fail(error).then((exitCode) => process.exit(exitCode));
  });

  try {
    const { parseCommandLine } = await import('./cli/args.js');
    const parsed = parseCommandLine(words);
    if (parsed.kind === 'run') {
      const { command, positionals, options, globals } = parsed;
      const ctx = createContext({ argv: words, version, env, globals, interrupts, outputClosed });
      return await (await command.load()).run(ctx, positionals, options);
    }
    const { printHelp } = await import('./cli/help.js');
    if (parsed.kind === 'help') printHelp(parsed.command);
    else process.stdout.write(`metawsm ${version}\n`);
    return 0;
  } catch (error) {
    // What fails because of the signal is not the news.
    return await fail(interrupts.received() ?? error);
  } finally {
    interrupts.dispose();
  }
}
