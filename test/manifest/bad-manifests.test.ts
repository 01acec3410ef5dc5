import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { validateCommand } from '../../src/cli/validate.js';

/** Each `<name>.yaml` there is invalid, and `<name>.expected` is what validate says about it on stderr. */
const folder = fileURLToPath(new URL('../fixtures/bad-manifests/', import.meta.url));
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => file.slice(0, -'.yaml'.length))
  .sort();

describe('bad manifests', () => {
  test('there are many of them, each with its expectation', () => {
    const expectations = readdirSync(folder).filter((file) => file.endsWith('.expected'));
    expect(expectations.sort()).toEqual(names.map((name) => `${name}.expected`).sort());
    expect(names.length).toBeGreaterThanOrEqual(40);
  });

  test.each(names)('%s', async (name) => {
    let stdout = '';
    let stderr = '';
    const code = await validateCommand([`${name}.yaml`], {
      json: false,
      cwd: folder,
      env: { HOME: '/home/me' },
      stdout: (text) => {
        stdout += text;
      },
      stderr: (text) => {
        stderr += text;
      },
    });
    expect(stderr).toBe(readFileSync(`${folder}${name}.expected`, 'utf8'));
    expect(stdout).toBe('');
    expect(code).toBe(65);
    // Every line has a place, says what is wrong and what would be right.
    for (const line of stderr.trimEnd().split('\n')) expect(line).toMatch(/^[\w.-]+:\d+:\d+: .+; .+$/);
  });
});
