import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSentinel } from '../../src/sentinels/parse.js';
import {
  appendFeedback,
  archiveClaims,
  archiveFolder,
  archiveRequest,
  putBack,
  readSentinels,
  SENTINEL_KINDS,
  writeGuidanceResponse,
} from '../../src/sentinels/sentinels.js';
import { sha256 } from '../../src/tools/files.js';
import { fuzz } from '../support/fuzz.js';

const AT = Date.UTC(2026, 1, 3, 4, 5, 6, 789);
const AGENT = { kind: 'agent', agent: 'agent' } as const;
const RESPONSE = {
  guidance_id: 'g1',
  request_id: 'r1',
  run_id: 'run-1',
  agent: 'agent',
  question: 'Which?',
  answer: 'that',
  answered_at: '2026-02-03T04:05:06Z',
};

let root: string;
let workspace: string;
let dir: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'metawsm-sentinels-'));
  workspace = join(root, 'workspace');
  dir = join(workspace, '.metawsm');
  mkdirSync(dir, { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Writes a file that was not changed just now, so that nobody waits for more of it. */
function leave(name: string, content: string | Uint8Array, folder = dir): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  utimesSync(file, AT / 1000, AT / 1000);
  return file;
}

const read = (folder = dir) => readSentinels(workspace, [{ place: AGENT, dir: folder }]);

async function reasonOf(content: string | Uint8Array, name = 'guidance-request.json'): Promise<string> {
  leave(name, content);
  const [found] = await read();
  return found?.content.kind === 'problem' ? found.content.reason : 'valid';
}

describe('reading', () => {
  it('finds nothing where nothing is', async () => {
    expect(await read()).toEqual([]);
    expect(await read(join(workspace, 'api', '.metawsm'))).toEqual([]);
  });

  it('gives value, digest and time', async () => {
    const text = '{"question": "Which?", "attempt": "2", "context": {"a": [1, null]}, "mood": "good"}';
    const file = leave('guidance-request.json', text);
    expect(await read()).toEqual([
      {
        kind: 'guidance-request',
        file,
        place: AGENT,
        content: {
          kind: 'valid',
          value: { question: 'Which?', attempt: 2, context: { a: [1, null] } },
          digest: sha256(text),
          mtime: AT,
        },
      },
    ]);
  });

  it('reads every kind in every folder', async () => {
    const other = join(workspace, 'api', '.metawsm');
    mkdirSync(other, { recursive: true });
    leave('implementation-complete.json', '{}');
    leave('validation-result.json', '{"status": "passed", "done_criteria": ["x"], "checks": null}');
    leave('guidance-response.json', JSON.stringify(RESPONSE), other);
    const found = await readSentinels(workspace, [
      { place: AGENT, dir },
      { place: { kind: 'repo', repo: 'api' }, dir: other },
    ]);
    expect(found.map(({ kind, place, content }) => [kind, place.kind, content.kind])).toEqual([
      ['implementation-complete', 'agent', 'valid'],
      ['validation-result', 'agent', 'valid'],
      ['guidance-response', 'repo', 'valid'],
    ]);
  });

  it.each([
    [
      'null in optional fields',
      '{"question": "x", "run_id": null, "agent": null, "attempt": null, "request_id": null}',
    ],
    ['a byte order mark', '\ufeff{"question": "x"}'],
    ['any context', '{"question": "x", "context": "text"}'],
    ['a __proto__ key', '{"question": "x", "__proto__": {"run_id": "evil"}, "context": {"__proto__": 1}}'],
    ['white space around', '\n {"question": "x"} \n'],
  ])('accepts %s', async (_, text) => expect(await reasonOf(text)).toBe('valid'));

  it.each([
    ['half-written', '{"question": "Whi', 'is not complete JSON'],
    ['half a character', Buffer.from('{"question": "é').subarray(0, -1), 'is not UTF-8'],
    ['nothing', '', 'is empty'],
    ['a text', 'please help', 'is not valid JSON'],
    ['NUL bytes', '{"question": "a\0b"}', 'contains NUL bytes'],
    ['UTF-16', Buffer.from('\ufeff{"question": "x"}', 'utf16le'), 'contains NUL bytes'],
    ['Latin-1', Buffer.from('{"question": "\xe9\xe9"}', 'latin1'), 'is not UTF-8'],
    ['an escaped NUL', '{"question": "a\\u0000b"}', 'has a NUL character in question'],
    ['no question', '{}', 'is not as its schema says: "question" is missing'],
    ['a blank question', '{"question": " \\n"}', 'is not as its schema says: question must not be blank'],
    ['a list', '[]', 'is not as its schema says: the document must be object'],
    ['null', 'null', 'is not as its schema says: the document must be object'],
    ['a number as question', '{"question": 7}', 'is not as its schema says: question must be string'],
    ['a fraction as attempt', '{"question": "x", "attempt": 1.5}', 'must be integer or string or null'],
    ['words as attempt', '{"question": "x", "attempt": "two"}', 'attempt must match pattern'],
    ['deep nesting', `{"question": "x", "context": ${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 'levels deep'],
    ['deep open nesting', '['.repeat(1024 * 1024), 'levels deep'],
    ['one byte too many', `{"question": "${'x'.repeat(1024 * 1024)}"}`, 'is larger than 1 MiB'],
  ])('reports %s', async (_, bytes, reason) => expect(await reasonOf(bytes)).toContain(reason));

  it('never shows control characters in a reason', async () => {
    const text = JSON.stringify({ status: 'passed', done_criteria: [], heads: { 'a\u001b[31m': 7 } });
    const reason = await reasonOf(text, 'validation-result.json');
    expect(reason).toMatch(/heads/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there.
    expect(reason).not.toMatch(/[\u0000-\u001f]/);
  });

  it('gives a prototype nothing', () => {
    const parsed = parseSentinel(
      'implementation-complete',
      Buffer.from('{"__proto__": {"summary": "evil"}}'),
    );
    expect(parsed).toEqual({ kind: 'valid', value: {} });
    expect(({} as { summary?: string }).summary).toBeUndefined();
  });

  it('reports what is not a file, and opens none of it', async () => {
    writeFileSync(join(root, 'secret.json'), '{"question": "secret"}');
    symlinkSync(join(root, 'secret.json'), join(dir, 'guidance-request.json'));
    symlinkSync('nowhere', join(dir, 'guidance-response.json'));
    execFileSync('mkfifo', [join(dir, 'implementation-complete.json')]);
    mkdirSync(join(dir, 'validation-result.json'));
    expect((await read()).map(({ content }) => content)).toEqual([
      { kind: 'problem', reason: 'is a symbolic link' },
      { kind: 'problem', reason: 'is a symbolic link' },
      { kind: 'problem', reason: 'is a FIFO' },
      { kind: 'problem', reason: 'is a folder' },
    ]);
  });

  it.each(['.metawsm', join('.metawsm', 'agents'), join('.metawsm', 'agents', 'one')])(
    'reads nothing through a swapped %s',
    async (swapped) => {
      const own = join(dir, 'agents', 'one');
      mkdirSync(own, { recursive: true });
      leave('guidance-request.json', '{"question": "x"}', own);
      expect(await read(own)).toMatchObject([{ content: { kind: 'valid' } }]);

      const away = join(root, 'away');
      renameSync(join(workspace, swapped), away);
      symlinkSync(away, join(workspace, swapped));
      const reason = `is not read: ${join(workspace, swapped)} is a symbolic link, not a folder`;
      expect(await read(own)).toEqual([
        {
          kind: 'guidance-request',
          file: join(own, 'guidance-request.json'),
          place: AGENT,
          content: { kind: 'problem', reason },
        },
      ]);
    },
  );

  it('reads a file again that is being written', async () => {
    const file = join(dir, 'guidance-request.json');
    writeFileSync(file, '{"question": "Whi');
    // The clock is asked after the first look.
    const now = () => {
      writeFileSync(file, '{"question": "Which?"}');
      return Date.now();
    };
    const found = await readSentinels(workspace, [{ place: AGENT, dir }], { now, retryMs: 1 });
    expect(found).toMatchObject([{ content: { kind: 'valid', value: { question: 'Which?' } } }]);
  });

  it('reads it again once only', async () => {
    writeFileSync(join(dir, 'guidance-request.json'), '{"question": "Whi');
    const found = await readSentinels(workspace, [{ place: AGENT, dir }], { retryMs: 1 });
    expect(found).toMatchObject([{ content: { kind: 'problem', reason: 'is not complete JSON' } }]);
  });

  it('never throws, whatever the bytes', async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record({
          question: fc.anything(),
          status: fc.anything(),
          done_criteria: fc.anything(),
          attempt: fc.anything(),
        })
        .map((value) => {
          try {
            return Buffer.from(JSON.stringify(value) ?? '');
          } catch {
            return Buffer.from('{');
          }
        }),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...SENTINEL_KINDS), bytes, async (kind, content) => {
        leave(`${kind}.json`, content);
        const found = await read();
        unlinkSync(join(dir, `${kind}.json`));
        expect(found).toMatchObject([{ kind }]);
        const first = found[0]?.content;
        // Whatever is valid can be written and recorded.
        if (first?.kind === 'valid') JSON.stringify(first.value);
      }),
      fuzz(),
    );
  });
});

describe('writing', () => {
  it('delivers an answer that is read back as written', async () => {
    await writeGuidanceResponse(workspace, dir, RESPONSE);
    expect(await read()).toMatchObject([{ content: { kind: 'valid', value: RESPONSE } }]);
    expect(readdirSync(dir)).toEqual(['archive', 'guidance-response.json']);
  });

  it('makes a missing folder, and writes through no swapped one', async () => {
    const own = join(dir, 'agents', 'one');
    await writeGuidanceResponse(workspace, own, RESPONSE);
    expect(existsSync(join(own, 'guidance-response.json'))).toBe(true);

    rmSync(dir, { recursive: true });
    const away = join(root, 'away');
    mkdirSync(away);
    symlinkSync(away, dir);
    const refused = `${dir} is a symbolic link, not a folder`;
    await expect(writeGuidanceResponse(workspace, dir, RESPONSE)).rejects.toThrow(refused);
    await expect(writeGuidanceResponse(workspace, own, RESPONSE)).rejects.toThrow(refused);
    await expect(appendFeedback(workspace, dir, 'x', AT)).rejects.toThrow(refused);
    await expect(archiveClaims(workspace, dir, AT)).rejects.toThrow(refused);
    await expect(archiveRequest(workspace, join(dir, 'guidance-request.json'), AT)).rejects.toThrow(refused);
    await expect(
      putBack(workspace, { archived: join(away, 'x'), original: join(dir, 'guidance-request.json') }),
    ).rejects.toThrow(refused);
    expect(readdirSync(away)).toEqual([]);
  });

  it('replaces a link in place of the answer, not what it leads to', async () => {
    writeFileSync(join(root, 'victim'), 'mine');
    symlinkSync(join(root, 'victim'), join(dir, 'guidance-response.json'));
    await writeGuidanceResponse(workspace, dir, RESPONSE);
    expect(readFileSync(join(root, 'victim'), 'utf8')).toBe('mine');
    expect(await read()).toMatchObject([{ content: { kind: 'valid' } }]);
  });
});

describe('setting aside', () => {
  it('takes a request and says what was taken', async () => {
    const file = leave('guidance-request.json', '{"question": "x"}');
    const taken = await archiveRequest(workspace, file, AT);
    expect(taken).toMatchObject({ original: file, digest: sha256('{"question": "x"}') });
    expect(taken?.archived).toMatch(
      /\.metawsm\/archive\/20260203T040506789Z-[0-9a-f]{8}-guidance-request\.json$/,
    );
    expect(existsSync(file)).toBe(false);
    expect(await archiveRequest(workspace, file, AT)).toBeNull();
    expect(readdirSync(join(dir, 'archive'))).toHaveLength(1);
  });

  it('puts back what it took by mistake, never over a newer one', async () => {
    const file = leave('guidance-request.json', '{"question": "one"}');
    const first = await archiveRequest(workspace, file, AT);
    if (first === null) throw new Error('nothing taken');
    expect(await putBack(workspace, first)).toBe('restored');
    expect(readFileSync(file, 'utf8')).toBe('{"question": "one"}');
    expect(await putBack(workspace, first)).toBe('absent');

    const second = await archiveRequest(workspace, file, AT);
    if (second === null) throw new Error('nothing taken');
    leave('guidance-request.json', '{"question": "two"}');
    expect(await putBack(workspace, second)).toBe('newer');
    expect(readFileSync(file, 'utf8')).toBe('{"question": "two"}');
    expect(readFileSync(second.archived, 'utf8')).toBe('{"question": "one"}');
  });

  it('takes a link or a FIFO without opening it', async () => {
    symlinkSync('/etc/hostname', join(dir, 'guidance-request.json'));
    const taken = await archiveRequest(workspace, join(dir, 'guidance-request.json'), AT);
    expect(taken).toMatchObject({ bytes: null, digest: null });
    execFileSync('mkfifo', [join(dir, 'implementation-complete.json')]);
    expect(await archiveClaims(workspace, dir, AT)).toMatchObject([{ bytes: null }]);
  });

  it('takes claims, and leaves questions and answers', async () => {
    for (const kind of SENTINEL_KINDS) leave(`${kind}.json`, '{}');
    expect(await archiveClaims(workspace, dir, AT)).toHaveLength(2);
    expect(readdirSync(dir).sort()).toEqual(['archive', 'guidance-request.json', 'guidance-response.json']);
    expect(await archiveClaims(workspace, dir, AT)).toEqual([]);
    expect(await archiveClaims(workspace, join(dir, 'agents', 'none'), AT)).toEqual([]);
  });

  it('does not follow a link in place of the archive', async () => {
    const away = join(root, 'away');
    mkdirSync(away);
    symlinkSync(away, join(dir, 'archive'));
    const file = leave('guidance-request.json', '{"question": "x"}');
    await expect(archiveRequest(workspace, file, AT)).rejects.toThrow('is a symbolic link');
    expect(existsSync(file)).toBe(true);
    expect(readdirSync(away)).toEqual([]);
  });

  it('has one archive per .metawsm folder', () => {
    expect(archiveFolder(workspace, join(dir, 'agents', 'one'))).toBe(join(dir, 'archive'));
    expect(archiveFolder(workspace, join(workspace, 'api', '.metawsm'))).toBe(
      join(workspace, 'api', '.metawsm', 'archive'),
    );
  });
});

describe('operator-feedback.md', () => {
  const file = () => join(dir, 'operator-feedback.md');

  it('has the newest last, and each entry once', async () => {
    await appendFeedback(workspace, dir, 'first\n', AT);
    await appendFeedback(workspace, dir, 'second', AT + 1000);
    await appendFeedback(workspace, dir, 'second', AT + 1000);
    expect(readFileSync(file(), 'utf8')).toBe(
      '# Operator feedback\n\n## 2026-02-03T04:05:06.789Z\n\nfirst\n\n## 2026-02-03T04:05:07.789Z\n\nsecond\n',
    );
  });

  it('keeps what an agent wrote into it', async () => {
    writeFileSync(file(), 'noted');
    await appendFeedback(workspace, dir, 'go on', AT);
    expect(readFileSync(file(), 'utf8')).toBe('noted\n\n## 2026-02-03T04:05:06.789Z\n\ngo on\n');
  });

  it('is not written through a link', async () => {
    writeFileSync(join(root, 'victim'), 'mine');
    symlinkSync(join(root, 'victim'), file());
    await appendFeedback(workspace, dir, 'go on', AT);
    expect(readFileSync(join(root, 'victim'), 'utf8')).toBe('mine');
    expect(readFileSync(file(), 'utf8')).toContain('go on');
  });
});
