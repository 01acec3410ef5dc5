import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { inflateSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { reportHtml } from '../../src/report/report-html.js';
import { reportOf } from '../../src/report/report-model.js';
import { crowdedRun, HOSTILE, hostileRun, longRun, shortRun } from '../support/report.js';

const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find(isInstalled);
const folder = mkdtempSync(path.join(tmpdir(), 'mw-page-'));
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

const PAGES = {
  long: reportHtml(reportOf(longRun())),
  short: reportHtml(reportOf(shortRun())),
  crowded: reportHtml(reportOf(crowdedRun())),
  hostile: reportHtml(reportOf(hostileRun(`${HOSTILE.join('\n')}\n${'unbroken'.repeat(100)}`))),
} as const;

describe.skipIf(chromium === undefined)(
  `a browser${chromium === undefined ? ' (chromium is not installed)' : ''}`,
  () => {
    test.for(Object.keys(PAGES) as (keyof typeof PAGES)[])(
      'shows the %s page without a complaint, and nothing of it is wider than a phone',
      async (name) => {
        for (const width of [360, 700, 1_200]) {
          const { seen, complaints } = await measure(PAGES[name], width);
          expect(complaints).toEqual([]);
          expect(seen).toMatchObject({ width, overflow: 0, scripts: 0, images: 0, drawings: 1 });
          expect(seen.folded).toBeGreaterThan(1);
          expect(seen.drawn).toBeGreaterThan(width - 100 > 900 ? 800 : 250);
        }
      },
    );

    test('the logs are folded in', async () => {
      const { seen } = await measure(PAGES.long, 360);
      expect(seen.openLogs).toBe(0);
    });

    test.for([
      ['light', [0xf6, 0xf7, 0xf9], []],
      ['dark', [0x14, 0x17, 0x1c], ['--force-dark-mode', '--blink-settings=preferredColorScheme=0']],
    ] as const)('it is drawn in %s', async ([scheme, colour, flags]) => {
      const page = save(PAGES.long);
      const picture = path.join(folder, `${scheme}.png`);
      await browse([...flags, `--screenshot=${picture}`, '--window-size=1000,1400', `file://${page}`]);
      const { width, height, first, bytes } = png(readFileSync(picture));
      expect([width, height]).toEqual([1_000, 1_400]);
      expect(first).toEqual(colour);
      // An empty one has a few hundred bytes.
      expect(bytes).toBeGreaterThan(20_000);
    });

    test('it asks nobody for anything, whatever is written into it', async () => {
      const asked: string[] = [];
      const server = createServer((request, response) => {
        asked.push(request.url ?? '');
        response.end();
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const at = (name: string): string => `http://127.0.0.1:${port}/${name}`;
      try {
        const hostile = [
          `<img src="${at('img')}">`,
          `"><script src='${at('script')}'></script>`,
          `</style><style>@import url(${at('style')});body{background:url(${at('background')})}</style>`,
          `<link rel=stylesheet href=${at('link')}><iframe src="${at('frame')}"></iframe>`,
          `<meta http-equiv=refresh content="0;url=${at('refresh')}">`,
        ].join('\n');
        await measure(reportHtml(reportOf(hostileRun(hostile))), 700);
        expect(asked).toEqual([]);
        // The server would have seen it.
        await measure(`<!doctype html><img src="${at('control')}">`, 700);
        expect(asked).toEqual(['/control']);
        // And the page's own policy forbids what would ever get through.
        const policy = /<meta http-equiv="Content-Security-Policy"[^>]*>/.exec(PAGES.long)?.[0] ?? '';
        const { complaints } = await measure(`<!doctype html>${policy}<img src="${at('forbidden')}">`, 700);
        expect(asked).toEqual(['/control']);
        expect(complaints.join('\n')).toContain('Content Security Policy');
      } finally {
        server.close();
      }
    });
  },
);

interface Seen {
  readonly width: number;
  /** Pixels by which something is wider than the window. */
  readonly overflow: number;
  readonly folded: number;
  readonly openLogs: number;
  readonly scripts: number;
  readonly images: number;
  readonly drawings: number;
  /** Width of the drawing. */
  readonly drawn: number;
}

/** Opens a page in a frame of that width (a window has at least 500 px), everything folded out, and measures it. */
async function measure(page: string, width: number): Promise<{ seen: Seen; complaints: string[] }> {
  const file = save(page);
  const frame = save(`<!doctype html><meta charset="utf-8"><body>
<iframe width="${width}" height="800" style="border:0" src="file://${file}"></iframe>
<script>
addEventListener('load', () => {
  const page = document.querySelector('iframe').contentDocument;
  const all = (what) => [...page.querySelectorAll(what)];
  const openLogs = all('pre').filter((log) => log.checkVisibility({ contentVisibilityAuto: true })).length;
  const folded = all('details').length;
  for (const each of all('details')) each.open = true;
  const root = page.documentElement;
  const drawing = page.querySelector('svg');
  const overflow = root.scrollWidth - root.clientWidth;
  const hidden = overflow === 0 ? 0 : overflow;
  const seen = {
    width: page.defaultView.innerWidth, overflow: hidden, folded, openLogs, scripts: all('script').length,
    images: all('img,iframe,object,embed,link').length, drawings: all('svg').length,
    drawn: drawing === null ? 0 : drawing.getBoundingClientRect().width,
  };
  const result = document.createElement('pre');
  result.id = 'seen';
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
});
</script>`);
  const { stdout, stderr } = await browse([
    '--allow-file-access-from-files',
    '--enable-logging=stderr',
    '--hide-scrollbars',
    '--virtual-time-budget=3000',
    '--window-size=1300,900',
    '--dump-dom',
    `file://${frame}`,
  ]);
  const [, text = ''] = /<pre id="seen">(.*?)<\/pre>/.exec(stdout) ?? [];
  if (text === '')
    throw new Error(`nothing was measured\n${stdout.slice(0, 2_000)}\n${stderr.slice(0, 4_000)}`);
  return {
    seen: JSON.parse(text) as Seen,
    complaints: stderr.split('\n').filter((line) => line.includes('CONSOLE')),
  };
}

let saved = 0;
function save(page: string): string {
  saved += 1;
  const file = path.join(folder, `page-${saved}.html`);
  writeFileSync(file, page);
  return file;
}

async function browse(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const profile = mkdtempSync(path.join(folder, 'profile-'));
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    `--user-data-dir=${profile}`,
  ];
  return promisify(execFile)(chromium ?? 'chromium', [...flags, ...args], {
    timeout: 50_000,
    maxBuffer: 64 * 1024 * 1024,
    env: { PATH: process.env.PATH, HOME: profile, LANG: 'C.UTF-8' },
  });
}

/** Size and first pixel of a picture; `bytes`: how much its compressed content takes. */
function png(file: Buffer): { width: number; height: number; first: number[]; bytes: number } {
  const parts: Buffer[] = [];
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    if (file.toString('latin1', at + 4, at + 8) === 'IDAT')
      parts.push(file.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const content = Buffer.concat(parts);
  // The first byte says how the row is filtered, which changes nothing in its first pixel.
  const first = [...inflateSync(content).subarray(1, 4)];
  return { width: file.readUInt32BE(16), height: file.readUInt32BE(20), first, bytes: content.length };
}

function isInstalled(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
