import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import {
  oneLine,
  setFrontmatterValue,
  splitDocument,
  topLevelScalar,
  yamlList,
  yamlScalar,
} from '../../src/tickets/frontmatter.js';
import { fuzz } from '../support/fuzz.js';

const AWKWARD = [
  'plain words',
  'a: b',
  'ends with:',
  '"quoted" and \'single\'',
  'a # comment',
  '#heading',
  '- leading dash',
  '-',
  '? key',
  '*alias &anchor !tag',
  '{{template}} {map} [list]',
  '%YAML 1.1',
  '@at `tick`',
  '| literal > folded',
  '0123',
  '1e3',
  'yes',
  'null',
  '~',
  '2026-11-23',
  '12:30',
  'back\\slash \\n',
  'zürich 日本語 🦀 \u2028 separator',
  'tab\there',
  'two\nlines',
  'bell\u0007 escape\u001b[31m c1\u0085 nul\u0000',
  '---',
  '  spaces around  ',
  'half \ud83d a character',
  '\ufeffmark',
  '',
];

describe('values that are written', () => {
  test.each(AWKWARD)('%j is read back by a YAML parser', (text) => {
    for (const version of ['1.1', '1.2'] as const) {
      expect(parse(`Title: ${yamlScalar(text)}\n`, { version })).toEqual({ Title: oneLine(text) });
    }
    expect(topLevelScalar(`A: b\nTitle: ${yamlScalar(text)}\nZ: 1\n`, 'Title')).toBe(oneLine(text));
  });

  test('any text stays one line and comes back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const value = yamlScalar(text);
        expect(value).not.toMatch(/\n/);
        expect(parse(`Title: ${value}\n`)).toEqual({ Title: oneLine(text) });
        expect(topLevelScalar(`Title: ${value}`, 'Title')).toBe(oneLine(text));
      }),
    );
  });

  test('lists', () => {
    expect(parse(`Topics:${yamlList([])}\n`)).toEqual({ Topics: [] });
    expect(parse(`Topics:${yamlList(['api', 'a: b', '- x', '7', ' '])}\n`)).toEqual({
      Topics: ['api', 'a: b', '- x', '7'],
    });
  });
});

describe('values that are read', () => {
  test('what a YAML library writes, in all its forms', () => {
    const options = fc.record({
      defaultStringType: fc.constantFrom(
        'PLAIN',
        'QUOTE_SINGLE',
        'QUOTE_DOUBLE',
        'BLOCK_LITERAL',
        'BLOCK_FOLDED',
      ),
      lineWidth: fc.constantFrom(0, 20, 80),
    } as const);
    const word = fc.constantFrom(
      'a',
      'word',
      'a: b',
      "it's",
      '"q"',
      '#x',
      '\\',
      'ü',
      '\n',
      '\t',
      ' ',
      '-',
      '🦀',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 25 }), options, (words, how) => {
        const wanted = words.join(' ').trim();
        const yaml = stringify({ Before: ['x', { y: 1 }], Title: wanted, After: { Title: 'inner' } }, how);
        // What is written there, even where the library that wrote it meant something else.
        const title: string = parse(yaml).Title;
        const read = topLevelScalar(yaml, 'Title');
        // The white space of folded blocks is not kept to the letter; no title or id has any such.
        const exact = / ["']/.test(/^Title:.*/m.exec(yaml)?.[0] ?? '');
        if (exact) expect(read).toBe(title);
        else expect(read?.trim().split(/\s+/)).toEqual(title.trim().split(/\s+/));
      }),
      fuzz(500),
    );
  });

  test.each([
    ['Ticket: 0123', '0123'],
    ['Ticket: ABC-1 # why', 'ABC-1'],
    ['Ticket:   "ABC-1"   ', 'ABC-1'],
    ['"Ticket": ABC-1', 'ABC-1'],
    ['Ticket:\n  ABC-1', 'ABC-1'],
    ['Ticket:\r\n  ABC-1\r\n', 'ABC-1'],
    ['Ticket:', ''],
    ['Ticket: null', ''],
    ['Ticket: [ABC-1]', null],
    ['Ticket:\n  - ABC-1', null],
    ['Ticket:\n- ABC-1', null],
    ['Ticket:\n  id: ABC-1', null],
    ['Ticket: *alias', null],
    ['Ticket: "open', null],
    ['  Ticket: inner', null],
    ['Tickets: ABC-1', null],
    ['# Ticket: ABC-1', null],
    ['Owners: [}\nTicket: ABC-1', 'ABC-1'],
  ])('%j is %j', (yaml, expected) => {
    expect(topLevelScalar(yaml, 'Ticket')).toBe(expected);
  });

  test('a hostile head is read in linear time', () => {
    for (const piece of ['[', '"', "'", 'Ticket: "', '\\', '- ', '\n', ' \n', '&a ', 'Ticket: |\n']) {
      const text = `Ticket: "${piece.repeat(64_000 / piece.length)}`;
      topLevelScalar(text, 'Ticket');
      topLevelScalar(piece.repeat(64_000 / piece.length), 'Ticket');
      splitDocument(`---\n${text}`);
    }
  });
});

describe('documents', () => {
  test('only a frontmatter from line 1 counts', () => {
    expect(splitDocument('---\nA: b\n---\n\n# T\n')).toMatchObject({
      frontmatter: 'A: b\n',
      body: '\n# T\n',
    });
    expect(splitDocument('---\r\nA: b\r\n---\r\n')).toMatchObject({ frontmatter: 'A: b\r\n', body: '' });
    expect(splitDocument('\n---\nA: b\n---\n')).toBeNull();
    expect(splitDocument('---\nA: b\n')).toBeNull();
    expect(splitDocument('# T\n\n---\n\n---\n')).toBeNull();
  });

  test('setting a value leaves all else as it is', () => {
    const text =
      '---\n# ours\nTitle: >-\n  a\n\n  b\nStatus: "active" # now\nX: [1]\n---\n\nStatus: of the body\n';
    expect(setFrontmatterValue(text, 'Status', 'complete')).toBe(text.replace('"active" # now', 'complete'));
    expect(setFrontmatterValue(text, 'Title', 'c')).toBe(text.replace('>-\n  a\n\n  b', 'c'));
    expect(setFrontmatterValue(text, 'New', '1')).toBe(text.replace('X: [1]\n', 'X: [1]\nNew: 1\n'));
    expect(setFrontmatterValue(text.replaceAll('\n', '\r\n'), 'Status', 'complete')).toBe(
      text.replace('"active" # now', 'complete').replaceAll('\n', '\r\n'),
    );
    expect(setFrontmatterValue('no frontmatter', 'Status', 'complete')).toBe('no frontmatter');
  });
});
