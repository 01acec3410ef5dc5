import { readdir, readFile } from 'node:fs/promises';
import type { CommandModule } from './commands.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';

const FOLDER = new URL('../../schemas/', import.meta.url);
const ENDING = '.schema.json';

export const run: CommandModule['run'] = (ctx, [name]) => schemaCommand(name, ctx);

/** `metawsm schema [name]`: prints a schema, the manifest's by default. An unknown name is wrong usage. */
export async function schemaCommand(
  name: string | undefined,
  options: { readonly stdout: (text: string) => void },
): Promise<number> {
  const names = (await readdir(FOLDER))
    .filter((file) => file.endsWith(ENDING))
    .map((file) => file.slice(0, -ENDING.length))
    .sort();
  const wanted = name ?? 'manifest';
  if (!names.includes(wanted)) {
    throw new CommandError({
      exitCode: EXIT.usage,
      code: 'usage',
      message: `no schema is called ${JSON.stringify(wanted)}`,
      hint: `there are: ${names.join(', ')}`,
    });
  }
  options.stdout(await readFile(new URL(`${wanted}${ENDING}`, FOLDER), 'utf8'));
  return EXIT.done;
}
