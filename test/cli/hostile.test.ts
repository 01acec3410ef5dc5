import path from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseCommandLine, wantsJson } from '../../src/cli/args.js';
import { COMMANDS, optionsOf } from '../../src/cli/commands.js';
import { CommandError, errorDocument, renderError } from '../../src/cli/errors.js';
import { selectorOf } from '../../src/cli/options.js';
import { newRun, newStore } from '../state/support.js';
import { ACTS, fuzz } from '../support/fuzz.js';

const flags = [
  ...new Set(COMMANDS.flatMap(optionsOf).map((spec) => /--[a-z-]+/.exec(spec.flags)?.[0] ?? '')),
];
const word = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom(...COMMANDS.map((command) => command.name)),
  fc.constantFrom(...flags),
  fc.tuple(fc.constantFrom(...flags), fc.string({ maxLength: 6 })).map(([name, text]) => `${name}=${text}`),
  fc.constantFrom(
    '',
    '-',
    '--',
    '---',
    '-f',
    '-h',
    '-=',
    '--=x',
    '--__proto__',
    '--constructor=1',
    '--toString',
    '--no-json',
    '--answer.foo',
    '-xyz',
    '--\u001b[2J',
    '../x.yaml',
    '$(id)',
    '007',
    '1e3',
    '__proto__',
    'run.yaml',
    'run-20260101-000000-abcd',
  ),
);

test('any words: a command line, or wrong usage that says what is wrong', () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 7 }), (words) => {
      wantsJson(words);
      let parsed: ReturnType<typeof parseCommandLine>;
      try {
        parsed = parseCommandLine(words);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        expect(error.exitCode).toBe(64);
        expect(error.message).not.toMatch(/undefined|\[object/);
        const shown = renderError(error, { verbose: false, color: false });
        expect(shown.trim()).not.toBe('');
        expect(shown).not.toMatch(ACTS);
        expect(JSON.parse(errorDocument(error))).toMatchObject({ kind: 'error', exit_code: 64 });
        return;
      }
      if (parsed.kind !== 'run') return;
      expect(COMMANDS).toContain(parsed.command);
      // Taken to the letter: each argument and each text was typed just so.
      const typed = words.join('\n');
      for (const argument of parsed.positionals) expect(words).toContain(argument);
      for (const value of Object.values(parsed.options).flat()) {
        if (typeof value === 'string') expect(typed).toContain(value);
      }
      expect(Object.keys(parsed.options)).not.toContain('__proto__');
      if (parsed.command.selector === 'required') {
        expect(selectorOf(parsed.positionals, parsed.options)).not.toBeNull();
      }
    }),
    fuzz(400),
  );
});

test('an answer of any text arrives as it was typed', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 30 }), fc.boolean(), (text, joined) => {
      const answer = joined ? [`--answer=${text}`] : ['--answer', text];
      const parsed = parseCommandLine(['guide', 'ABC-1', ...answer]);
      expect(parsed).toMatchObject({ kind: 'run', positionals: ['ABC-1'], options: { answer: text } });
    }),
    fuzz(400),
  );
});

test('any selector names exactly one run, or none and what there is', async () => {
  const { store, top } = await newStore();
  const manifest = path.join(top, 'm', 'a.yaml');
  await store.createRun(newRun('run-1', manifest), { beside: false });
  await store.createRun(newRun('run-2', path.join(top, '-b.yaml'), '0123'), { beside: false });
  const bit = fc.oneof(
    {
      weight: 2,
      arbitrary: fc.constantFrom('run-1', 'T-1', 'm/a.yaml', './', '../', '/', '.yaml', '0123', '%', '_'),
    },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "'",
        '"',
        ';--',
        '*',
        '\\',
        '\u001b[2J',
        '..',
        '~',
        '-',
        ' ',
        '\ud800',
        '\0',
      ),
    },
  );
  const selector = fc.array(bit, { maxLength: 4 }).map((bits) => bits.join(''));
  const way = fc.constantFrom('any', 'run', 'ticket');
  await fc.assert(
    fc.asyncProperty(selector, way, async (text, how) => {
      const typed = how === 'any' ? text : how === 'run' ? { runId: text } : { ticket: text };
      const found = await store.resolveSelector(typed, top);
      if (found.kind === 'unknown') {
        expect(found.known.map((run) => run.id)).toEqual(['run-2', 'run-1']);
        return;
      }
      const { id, ticketId, manifestPath } = found.run;
      const names = [
        ...(how === 'ticket' ? [] : [text === id]),
        ...(how === 'run' ? [] : [text === ticketId]),
        ...(how === 'any' ? [path.resolve(top, text) === manifestPath] : []),
      ];
      expect(names).toContain(true);
    }),
    fuzz(300),
  );
});
