// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is what this is about
import { homedir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { expandEnvValue, expandPath, expandUrl } from '../../src/manifest/expand.js';

const env = { HOME: '/home/me', A: 'one', EMPTY: '', DOLLAR: '${A}~$$' };

describe('values of env', () => {
  test.each([
    ['plain', 'plain', false],
    ['', '', false],
    ['~', '/home/me', false],
    ['~/x', '/home/me/x', false],
    ['~x', '~x', false],
    ['a~', 'a~', false],
    ['a:~/b', 'a:~/b', false],
    ['${A}', 'one', true],
    ['x${A}y${A}', 'xoneyone', true],
    ['${EMPTY}', '', true],
    ['$$', '$', false],
    ['$${A}', '${A}', false],
    ['$$${A}', '$one', true],
    ['$A', '$A', false],
    ['$', '$', false],
    ['a$ b', 'a$ b', false],
    ['$(id)', '$(id)', false],
    ['${DOLLAR}', '${A}~$$', true],
    ['~/${A}', '/home/me/one', true],
  ])('%j is %j', (text, value, fromEnv) => {
    expect(expandEnvValue(text, env)).toEqual({ ok: true, value, fromEnv });
  });

  test.each([
    ['${NOPE}', 'the environment variable NOPE is not set'],
    ['${__proto__}', 'the environment variable __proto__ is not set'],
    ['${', '${ without } in "${"'],
    ['a ${A', '${ without } in "a ${A"'],
    ['${}', '${} in "${}" names no variable'],
    ['${A:-x}', '${A:-x} in "${A:-x}" names no variable'],
    ['${1}', '${1} in "${1}" names no variable'],
  ])('%j is refused', (text, message) => {
    expect(expandEnvValue(text, env)).toMatchObject({ ok: false, message });
  });

  test('the home folder is known without HOME', () => {
    expect(expandEnvValue('~/x', {})).toMatchObject({ value: `${homedir()}/x` });
    expect(expandEnvValue('~/x', { HOME: '/' })).toMatchObject({ value: '//x' });
  });
});

describe('paths', () => {
  test.each([
    ['../api', '/m/api'],
    ['./api/', '/m/x/api'],
    ['/abs/../y', '/y'],
    ['~/api', '/home/me/api'],
    ['${A}/api', '/m/x/one/api'],
    ['./~x', '/m/x/~x'],
  ])('%j is %j', (text, value) => {
    expect(expandPath(text, env, '/m/x')).toMatchObject({ ok: true, value });
  });

  test.each(['~bob/x', '${EMPTY}', '${NOPE}/x', '${'])('%j is refused', (text) => {
    expect(expandPath(text, env, '/m').ok).toBe(false);
  });
});

describe('urls', () => {
  test.each([
    ['../x.git', '/m/x.git'],
    ['/srv/x.git', '/srv/x.git'],
    ['~/x.git', '/home/me/x.git'],
    ['x', '/m/f/x'],
    ['./a:b', '/m/f/a:b'],
    ['${A}/x.git', '/m/f/one/x.git'],
    ['https://example.org/x.git', 'https://example.org/x.git'],
    ['https://example.org:8443/~me/x', 'https://example.org:8443/~me/x'],
    ['ssh://git@example.org:22/x', 'ssh://git@example.org:22/x'],
    ['ssh://[::1]/x', 'ssh://[::1]/x'],
    ['file:///srv/x.git', 'file:///srv/x.git'],
    ['git@example.org:x.git', 'git@example.org:x.git'],
    ['example.org:x', 'example.org:x'],
  ])('%j is %j', (text, value) => {
    expect(expandUrl(text, env, '/m/f')).toEqual({ ok: true, value, fromEnv: expect.any(Boolean) });
  });

  test.each([
    '-x',
    'ext::sh -c id',
    '::x',
    'a+b::x',
    'ssh://-oProxyCommand=id/x',
    'ssh://me@-host/x',
    'ssh://-me@host/x',
    '-oProxyCommand=id:x',
    'me@-host:x',
    'javascript://x/y',
    'https://',
    'https:///x',
    'https://${A}/x',
  ])('%j is refused', (text) => {
    expect(expandUrl(text, env, '/m').ok).toBe(false);
  });
});
