import { expect, test } from 'vitest';
import { parseDuration } from '../../src/manifest/duration.js';
import { nearest } from '../../src/manifest/nearest.js';

const KEYS = [
  'version',
  'ticket',
  'tickets',
  'base_branch',
  'done_criteria',
  'agent',
  'agents',
  'command',
  'cwd',
];

test.each([
  ['done_criterai', 'done_criteria'],
  ['doneCriteria', 'done_criteria'],
  ['Done-Criteria', 'done_criteria'],
  ['criteria', 'done_criteria'],
  ['tiket', 'ticket'],
  ['ticktes', 'tickets'],
  ['agnet', 'agent'],
  ['cmd', 'command'],
  ['base', 'base_branch'],
  ['zebra', null],
  ['x', null],
  ['', null],
  ['v'.repeat(1000), null],
])('%s: did you mean %s?', (word, candidate) => {
  expect(nearest(word, KEYS)).toBe(candidate);
});

test.each([
  ['0s', 0],
  ['250ms', 250],
  ['90s', 90_000],
  ['10m', 600_000],
  ['2h', 7_200_000],
  ['10', null],
  ['1.5h', null],
  ['-1s', null],
  ['1d', null],
  [' 1s', null],
  ['1s\n', null],
  ['99999999999s', null],
])('%j lasts %s ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});
