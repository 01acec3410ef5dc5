import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Larger manifests are refused unread. */
const MAX_MANIFEST_BYTES = 1024 * 1024;

/** Something wrong with the bytes of a file; line and column from 1. */
export interface TextProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly suggestion: string | null;
}

export type ReadResult =
  /** `problems`: control characters. In `text` a replacement stands for each, so that the rest can be looked at. */
  | { readonly ok: true; readonly text: string; readonly problems: readonly TextProblem[] }
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

/** Reads a manifest as text, or says why it is none. Never blocks on a FIFO or a device. */
export async function readManifestText(path: string): Promise<ReadResult> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return whole(...openProblem(error));
  }
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) return whole('is a folder', 'name a manifest file');
    if (!stat.isFile()) return whole('is not a regular file', 'name a manifest file');
    if (stat.size > MAX_MANIFEST_BYTES) return tooLarge();
    const bytes = await readAtMost(handle, MAX_MANIFEST_BYTES + 1);
    return bytes.length > MAX_MANIFEST_BYTES ? tooLarge() : decode(bytes);
  } catch (error) {
    return whole(...openProblem(error));
  } finally {
    await handle.close();
  }
}

/** The size is only a hint: a file may grow while it is read. */
async function readAtMost(handle: FileHandle, limit: number): Promise<Buffer> {
  const buffer = Buffer.alloc(limit);
  let length = 0;
  while (length < limit) {
    const { bytesRead } = await handle.read(buffer, length, limit - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

function openProblem(error: unknown): [message: string, suggestion: string | null] {
  const code = (error as NodeJS.ErrnoException | null)?.code ?? String(error);
  switch (code) {
    case 'ENOENT':
      return ['no such file', 'check the path'];
    case 'ENOTDIR':
      return ['no such file: a part of its path is not a folder', 'check the path'];
    case 'EACCES':
    case 'EPERM':
      return ['cannot be read: permission denied', 'make it readable for this user'];
    case 'ELOOP':
      return ['cannot be read: its symbolic links lead in a circle', 'name the file itself'];
    case 'ENAMETOOLONG':
      return ['cannot be read: the name is too long', 'name a manifest file'];
    case 'ENXIO':
    case 'ENODEV':
      return ['is not a regular file', 'name a manifest file'];
    default:
      return [`cannot be read (${code})`, 'check the path'];
  }
}

function decode(bytes: Buffer): ReadResult {
  let text = bytes.toString('utf8');
  const broken = firstInvalid(bytes, text);
  if (broken !== null) {
    const place = placeOf(text.slice(0, broken));
    return {
      ok: false,
      problems: [{ ...place, message: 'is not UTF-8 text', suggestion: 'save it as UTF-8' }],
    };
  }
  if (text.startsWith('\ufeff')) text = text.slice(1);
  const problems = controlCharacters(text);
  // So many are no slip of an editor: whatever this is, it is not YAML.
  if (problems.length === MOST_CONTROL_CHARACTERS) return { ok: false, problems };
  return { ok: true, text: problems.length === 0 ? text : text.replace(CONTROL, '\ufffd'), problems };
}

/** Index in `text` of the first byte that is no UTF-8; null when there is none. */
function firstInvalid(bytes: Buffer, text: string): number | null {
  let from = 0;
  let offset = 0;
  for (;;) {
    const index = text.indexOf('\ufffd', from);
    if (index < 0) return null;
    // All text before is intact, so its length in bytes is where this character begins.
    offset += Buffer.byteLength(text.slice(from, index));
    if (bytes[offset] !== 0xef || bytes[offset + 1] !== 0xbf || bytes[offset + 2] !== 0xbd) return index;
    offset += 3;
    from = index + 1;
  }
}

const MOST_CONTROL_CHARACTERS = 20;

/** All but tab and line breaks. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
const CONTROL = /(?!\r\n)[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufffe\uffff]/g;

/** The first control character of each line: YAML would carry them into names, paths and terminals. */
function controlCharacters(text: string): TextProblem[] {
  const problems: TextProblem[] = [];
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    const isLast = index === lines.length - 1;
    const column = (isLast ? line : `${line}\n`).search(CONTROL);
    if (column < 0) continue;
    const code = line.charCodeAt(column).toString(16).toUpperCase().padStart(4, '0');
    problems.push({
      line: index + 1,
      column: column + 1,
      message: `control character U+${code}`,
      suggestion: 'remove it: a manifest is plain text',
    });
    if (problems.length === MOST_CONTROL_CHARACTERS) break;
  }
  return problems;
}

function placeOf(before: string): { line: number; column: number } {
  const lines = before.replace(/^\ufeff/, '').split('\n');
  return { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 };
}

function tooLarge(): ReadResult {
  return whole('is larger than 1 MiB', 'keep long texts in files of their own');
}

function whole(message: string, suggestion: string | null): ReadResult {
  return { ok: false, problems: [{ line: 1, column: 1, message, suggestion }] };
}
