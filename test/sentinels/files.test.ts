import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ensureRealFolder,
  firstUnrealFolder,
  isRealFolder,
  moveExclusive,
  moveToFresh,
  readRegular,
  safeText,
  sha256,
  tailLines,
  writeAtomic,
} from '../../src/tools/files.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'metawsm-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const inside = (...names: string[]) => join(folder, ...names);

describe('readRegular', () => {
  it('reads a file with its time', async () => {
    writeFileSync(inside('a'), 'text');
    const result = await readRegular(inside('a'), 4);
    expect(result).toMatchObject({ kind: 'file', mtime: Math.trunc(statSync(inside('a')).mtimeMs) });
    expect(result.kind === 'file' && result.bytes.toString()).toBe('text');
  });

  it('says absent, also below a file', async () => {
    writeFileSync(inside('a'), '');
    expect(await readRegular(inside('b'), 10)).toEqual({ kind: 'absent' });
    expect(await readRegular(inside('a', 'b'), 10)).toEqual({ kind: 'absent' });
  });

  it('refuses what is not a regular file, without blocking', async () => {
    writeFileSync(inside('a'), 'secret');
    symlinkSync(inside('a'), inside('link'));
    symlinkSync(inside('nothing'), inside('dangling'));
    mkdirSync(inside('folder'));
    execFileSync('mkfifo', [inside('fifo')]);
    const server = createServer().listen(inside('socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    const reason = async (name: string) => {
      const result = await readRegular(name, 10);
      return result.kind === 'problem' ? result.reason : result.kind;
    };
    expect(await reason(inside('link'))).toBe('is a symbolic link');
    expect(await reason(inside('dangling'))).toBe('is a symbolic link');
    expect(await reason(inside('folder'))).toBe('is a folder');
    expect(await reason(inside('fifo'))).toBe('is a FIFO');
    expect(await reason(inside('socket'))).toBe('is a socket');
    expect(await reason('/dev/null')).toBe('is a device');
    await new Promise((resolve) => server.close(resolve));
  });

  it('refuses one byte too many', async () => {
    writeFileSync(inside('a'), Buffer.alloc(1024 * 1024 + 1, 'x'));
    expect(await readRegular(inside('a'), 1024 * 1024)).toEqual({
      kind: 'problem',
      reason: 'is larger than 1 MiB',
    });
  });
});

describe('writeAtomic', () => {
  it('replaces the content, keeps the mode asked for, leaves nothing beside it', async () => {
    await writeAtomic(inside('a'), 'one', { mode: 0o600 });
    await writeAtomic(inside('a'), 'two', { mode: 0o600 });
    expect(readFileSync(inside('a'), 'utf8')).toBe('two');
    expect(statSync(inside('a')).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['a']);
  });

  it('replaces a link instead of writing through it', async () => {
    writeFileSync(inside('victim'), 'mine');
    symlinkSync(inside('victim'), inside('a'));
    await writeAtomic(inside('a'), 'two');
    expect(readFileSync(inside('victim'), 'utf8')).toBe('mine');
    expect(readFileSync(inside('a'), 'utf8')).toBe('two');
  });

  it('refuses a linked or missing parent and a folder at its place', async () => {
    mkdirSync(inside('real'));
    symlinkSync(inside('real'), inside('link'));
    await expect(writeAtomic(inside('link', 'a'), '')).rejects.toThrow('is a symbolic link, not a folder');
    await expect(writeAtomic(inside('none', 'a'), '')).rejects.toThrow('does not exist');
    await expect(writeAtomic(inside('real'), '')).rejects.toThrow('is a folder');
    expect(readdirSync(inside('real'))).toEqual([]);
  });
});

describe('folders', () => {
  it('makes what is missing and refuses a link on the way', async () => {
    await ensureRealFolder(inside('a', 'b'), { below: folder });
    expect(await isRealFolder(inside('a', 'b'))).toBe(true);
    mkdirSync(inside('elsewhere'));
    symlinkSync(inside('elsewhere'), inside('link'));
    await expect(ensureRealFolder(inside('link', 'b'), { below: folder })).rejects.toThrow('symbolic link');
    await expect(ensureRealFolder(inside('link'))).rejects.toThrow('symbolic link');
    expect(readdirSync(inside('elsewhere'))).toEqual([]);
    expect(await isRealFolder(inside('link'))).toBe(false);
    expect(await firstUnrealFolder(folder, inside('link', 'b'))).toEqual({
      path: inside('link'),
      reason: 'is a symbolic link, not a folder',
    });
    expect(await firstUnrealFolder(folder, inside('a', 'c'))).toMatchObject({ reason: 'absent' });
    expect(await firstUnrealFolder(folder, inside('a', 'b'))).toBeNull();
  });

  it('refuses a file in the way', async () => {
    writeFileSync(inside('a'), '');
    await expect(ensureRealFolder(inside('a'))).rejects.toThrow('is a file, not a folder');
    await expect(ensureRealFolder(inside('a', 'b'), { below: folder })).rejects.toThrow('is a file');
  });
});

describe('moving', () => {
  it('never goes over an existing file', async () => {
    writeFileSync(inside('a'), 'a');
    writeFileSync(inside('b'), 'b');
    expect(await moveExclusive(inside('a'), inside('b'))).toBe('exists');
    expect(await moveExclusive(inside('a'), inside('c'))).toBe('moved');
    expect(await moveExclusive(inside('a'), inside('d'))).toBe('absent');
    expect(readFileSync(inside('b'), 'utf8')).toBe('b');
    expect(readdirSync(folder)).toEqual(['b', 'c']);
  });

  it('finishes a move that was cut short', async () => {
    writeFileSync(inside('a'), 'a');
    linkSync(inside('a'), inside('b'));
    expect(await moveExclusive(inside('a'), inside('b'))).toBe('moved');
    expect(readdirSync(folder)).toEqual(['b']);
  });

  it('takes anything to a fresh name', async () => {
    mkdirSync(inside('archive'));
    writeFileSync(inside('a'), 'one');
    const first = await moveToFresh(inside('a'), inside('archive'), 'now');
    symlinkSync('/etc/passwd', inside('a'));
    const second = await moveToFresh(inside('a'), inside('archive'), 'now');
    expect(first).not.toBe(second);
    expect(await moveToFresh(inside('a'), inside('archive'), 'now')).toBeNull();
    expect(existsSync(inside('a'))).toBe(false);
    expect(readdirSync(inside('archive'))).toHaveLength(2);
  });
});

describe('tailLines', () => {
  it('gives the last lines of the last bytes', async () => {
    writeFileSync(inside('a'), `${'x'.repeat(100)}\none\r\ntwo\nthree\n`);
    expect(await tailLines(inside('a'), 2)).toEqual(['two', 'three']);
    expect(await tailLines(inside('a'), 10, 12)).toEqual(['two', 'three']);
    expect(await tailLines(inside('a'), 10, 3)).toEqual(['ee']);
    expect(await tailLines(inside('b'), 2)).toEqual([]);
    expect(await tailLines(folder, 2)).toEqual([]);
  });
});

describe('safeText', () => {
  it.each([
    ['plain\ttext\nnext é 漢 👩‍👧', 'plain\ttext\nnext é 漢 👩‍👧'],
    ['\u001b[31mred\u001b[0m', 'red'],
    ['\u001b]0;title\u0007x\u001b]8;;http://x\u001b\\y', 'xy'],
    ['\u009b31mred', 'red'],
    ['\u001bcreset', 'reset'],
    ['a\r\nb\rc', 'a\nb\nc'],
    ['\u0000\u0007\u007f\u0085', '\\x00\\x07\\x7f\\x85'],
    ['\u202eevil\u2066', '\\u202eevil\\u2066'],
    ['\u{e0041}', '\\u{e0041}'],
    ['\ud800', '\ufffd'],
    ['\u001b]0;unended', '\\x1b]0;unended'],
  ])('%j', (text, expected) => expect(safeText(text)).toBe(expected));
});

it('sha256 of a text is that of its UTF-8 bytes', () => {
  expect(sha256('é')).toBe(sha256(Buffer.from('é')));
  expect(sha256('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});
