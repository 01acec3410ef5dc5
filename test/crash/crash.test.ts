import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { checkout } from '../support/rig.js';

/**
 * The short form of `npm run test:crash`: a few dozen kills, always the same ones. The long form goes through
 * all moments at which a crash can matter, and prints what replays a difference.
 */
test.skipIf(process.platform !== 'linux')(
  'killed again and again, a run ends as one that was never disturbed',
  { timeout: 300_000 },
  async () => {
    const args = ['test/crash/crash.mjs', '--seed', '7', '--count', '4', '--session', 'process'];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: checkout }).catch(
      (error: { readonly stdout: string; readonly stderr: string }) => {
        throw new Error(`${error.stdout}\n${error.stderr}`);
      },
    );
    const [, kills] = /: (\d+) kills in 4 lives .*; 0 divergences/.exec(stdout) ?? [];
    expect(Number(kills), stdout).toBeGreaterThan(20);
  },
);
