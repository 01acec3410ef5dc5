import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { withScratchFolder } from '../../src/tools/scratch.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'metawsm-scratch-'));
  vi.stubEnv('TMPDIR', root);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

test('it is this user’s alone, and gone when its work has ended or failed', async () => {
  const seen = await withScratchFolder(async (folder) => {
    writeFileSync(join(folder, 'file'), '');
    return { folder, mode: statSync(folder).mode & 0o777 };
  });
  expect(seen.mode).toBe(0o700);
  expect(existsSync(seen.folder)).toBe(false);
  const failing = withScratchFolder(async () => {
    throw new Error('the work failed');
  });
  await expect(failing).rejects.toThrow('the work failed');
  expect(readdirSync(root)).toEqual([]);
});

test('what a killed process left goes with the next one, what a living one uses stays', async () => {
  const { pid } = spawnSync('true');
  await withScratchFolder(async (mine) => {
    const left = mine.replace(`-${process.pid}-`, `-${pid}-`);
    mkdirSync(left);
    writeFileSync(join(left, 'index'), '');
    // Not one of these folders, whoever made it.
    writeFileSync(left.replace('.tmp', '1.tmp'), 'a file');
    mkdirSync(join(root, '.metawsm.mine.tmp'));
    await withScratchFolder(async () => {
      expect(existsSync(left)).toBe(false);
      expect(existsSync(mine)).toBe(true);
    });
  });
  expect(readdirSync(root)).toHaveLength(2);
});
