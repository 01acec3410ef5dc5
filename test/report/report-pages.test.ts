import { describe, expect, test } from 'vitest';
import {
  htmlText,
  markdownCode,
  markdownFence,
  markdownLink,
  markdownText,
  webAddress,
} from '../../src/report/report-escape.js';
import { reportHtml } from '../../src/report/report-html.js';
import { reportMarkdown } from '../../src/report/report-markdown.js';
import { reportOf } from '../../src/report/report-model.js';
import { REPORT_STYLE } from '../../src/report/report-style.js';
import { crowdedRun, HOSTILE, hostileRun, longRun, shortRun } from '../support/report.js';

const RUNS = { long: longRun, short: shortRun, crowded: crowdedRun };

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]/;

describe('a text in HTML', () => {
  test.for([
    ['<script>alert(1)</script>', '&lt;script&gt;alert(1)&lt;/script&gt;'],
    [`"><img onerror='x'>`, '&quot;&gt;&lt;img onerror=&#39;x&#39;&gt;'],
    [']]> & &amp;', ']]&gt; &amp; &amp;amp;'],
    ['`a`', '&#96;a&#96;'],
    ['\u001b[31mred\u001b[0m\u0007', 'red\\x07'],
    ['a\u202eb', 'a\\u202eb'],
    ['two\nlines', 'two\nlines'],
  ])('%j', ([text = '', html]) => expect(htmlText(text)).toBe(html));
});

describe('a text in Markdown', () => {
  test.for([
    ['<b> & "c"', '&#60;b&#62; &#38; "c"'],
    ['[a](b) ![c](d)', '&#91;a&#93;(b) !&#91;c&#93;(d)'],
    ['*a* _b_ ~~c~~ `d` $e$', '&#42;a&#42; &#95;b&#95; &#126;&#126;c&#126;&#126; &#96;d&#96; &#36;e&#36;'],
    ['a | b \\| c', 'a &#124; b &#92;&#124; c'],
    ['# a\n- b\n+ c\n1. d\n2) e\n===', '&#35; a<br>&#45; b<br>&#43; c<br>1&#46; d<br>2&#41; e<br>&#61;=='],
    ['    code', 'code'],
    ['a\n    b', 'a<br>&nbsp;&nbsp;&nbsp;&nbsp;b'],
    ['@octocat #1 GH-2', '&#64;\u2060octocat &#35;\u20601 GH\u2060-2'],
    ['https://a.example www.b.example', 'https:\u2060//a.example www\u2060.b.example'],
    ['me@a.example', 'me&#64;\u2060a.example'],
    ['a\u200b\u2060b', 'a&#92;u200b&#92;u2060b'],
    ['in 2. place, 50% of 3', 'in 2. place, 50% of 3'],
  ])('%j', ([text = '', markdown]) => expect(markdownText(text)).toBe(markdown));

  test('code is an element, so that no backtick or border ends it', () => {
    expect(markdownCode('a `b` | <c>')).toBe('<code>a &#96;b&#96; &#124; &#60;c&#62;</code>');
    expect(markdownCode('')).toBe('');
  });

  test('a fence is longer than any in its text', () => {
    expect(markdownFence('a\n')).toBe('```text\na\n```');
    expect(markdownFence('```\nb\n````\n')).toBe('`````text\n```\nb\n````\n`````');
  });
});

describe('an address', () => {
  test.for([
    ['https://github.com/a/b/pull/1', 'https://github.com/a/b/pull/1'],
    ['http://intern/1', 'http://intern/1'],
    ['javascript:alert(1)', null],
    [' JaVaScRiPt:alert(1)', null],
    ['data:text/html,x', null],
    ['https://user:word@a.example/', null],
    ['//a.example', null],
    ['file:///etc/passwd', null],
    ['x', null],
    [null, null],
  ] as const)('%j is %j', ([text, address]) => expect(webAddress(text)).toBe(address));

  test('cannot get out of its link', () => {
    expect(markdownLink('https://a.example/x)>[b](c)|`')).toBe(
      '[https://a.example/x)&#62;&#91;b&#93;(c)&#124;&#96;](<https://a.example/x%29%3E%5Bb%5D%28c%29%7C%60>)',
    );
  });
});

describe('whatever is written into a run', () => {
  test.for(HOSTILE.map((text) => [text] as const))('%j is text on the page', ([text]) => {
    const page = reportHtml(reportOf(hostileRun(text)));
    expect(shape(page)).toEqual(shape(reportHtml(reportOf(hostileRun('plain')))));
    expect(page).not.toMatch(UNSEEN);
    expect([...page.matchAll(/(?:href|src)="([^"]*)"/g)].map(([, address]) => address)).toEqual(
      webAddress(text) === null ? [] : expect.anything(),
    );
  });

  test.for(HOSTILE.map((text) => [text] as const))('%j is text in Markdown', ([text]) => {
    const markdown = reportMarkdown(reportOf(hostileRun(text))) ?? '';
    expect(markdown).not.toMatch(UNSEEN);
    // What is outside of fences holds no elements but the report's own, and nothing that Markdown would act on.
    const outside = markdown.replace(/^(`{3,})text\n[\s\S]*?\n\1$/gm, '');
    const elements = [...outside.matchAll(/<\/?([a-z!?][^\s>]*)[^>]*>/gi)].map(([, name]) => name);
    expect(
      elements.filter((name) => !['details', 'summary', 'code', 'br', 'sub'].includes(name ?? '')),
    ).toEqual([]);
    const told = outside.replace(/<[^>]+>/g, '').replace(/^#+ |^\s*- |\*\*|^\|.*--- \|$/gm, '');
    expect(told.replace(/&#\d+;|&nbsp;/g, '')).not.toMatch(/[<>`[\]*~\\@]|:\/\/|www\.|#[0-9a-z]/i);
    for (const table of tables(outside)) expect(new Set(table.map(cells)).size, table.join('\n')).toBe(1);
  });
});

describe.each(Object.entries(RUNS))('the page of a %s run', (_name, input) => {
  const page = reportHtml(reportOf(input()));

  test('needs nothing but itself', () => {
    expect(page).toContain("default-src 'none'; style-src 'unsafe-inline'; img-src data:");
    expect(page).not.toMatch(
      /<(script|link|iframe|object|embed|img|form|base|video|audio)\b|@import|url\(|\son\w+=/i,
    );
    expect(page.indexOf('Content-Security-Policy')).toBeLessThan(page.indexOf('<style>'));
  });

  test('closes every element that it opens', () => {
    const open: string[] = [];
    for (const [, closing, name = '', selfClosing] of page.matchAll(
      /<(\/?)([a-z][a-z0-9]*)\b[^>]*?(\/?)>/g,
    )) {
      if (selfClosing === '/' || ['meta', 'br'].includes(name)) continue;
      if (closing === '') open.push(name);
      else expect(open.pop()).toBe(name);
    }
    expect(open).toEqual([]);
  });

  test('can be read by ear: headings in order, names for tables and the drawing, no id twice', () => {
    const levels = [...page.matchAll(/<h([1-6])/g)].map(([, level]) => Number(level));
    expect(levels[0]).toBe(1);
    for (const [index, level] of levels.entries())
      expect(level).toBeLessThanOrEqual((levels[index - 1] ?? 0) + 1);
    expect(page.match(/<table/g)?.length).toBe(page.match(/<caption>[^<]/g)?.length);
    expect(page).toMatch(/<svg[^>]*role="img" aria-labelledby="timeline-title timeline-desc"/);
    expect(page).toMatch(/<title id="timeline-title">.+<\/title>\s*<desc id="timeline-desc">.+<\/desc>/);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(ids).toEqual([...new Set(ids)]);
    const named = [...page.matchAll(/aria-labelledby="([^"]+)"/g)].flatMap(
      ([, names]) => names?.split(' ') ?? [],
    );
    for (const name of named) expect(ids).toContain(name);
  });
});

test('colours can be read on what they stand on, in light and in dark', () => {
  const schemes = [...REPORT_STYLE.matchAll(/:root \{([^}]*)\}/g)].map(([, block = '']) =>
    Object.fromEntries(
      [...block.matchAll(/--([a-z-]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name, value]),
    ),
  );
  expect(schemes).toHaveLength(2);
  for (const colours of schemes) {
    const tones = ['good', 'bad', 'wait', 'busy', 'quiet'];
    const pairs = [
      ...tones.map((tone) => [tone, `${tone}-fill`]),
      ...tones.map((tone) => [tone, 'card']),
      ...['text', 'soft', 'link'].flatMap((name) => ['page', 'card'].map((below) => [name, below])),
      ['text', 'code'],
    ];
    for (const [above = '', below = ''] of pairs) {
      expect(
        contrast(colours[above] ?? '', colours[below] ?? ''),
        `${above} on ${below}`,
      ).toBeGreaterThanOrEqual(4.5);
    }
  }
});

describe('Markdown', () => {
  test.each(Object.entries(RUNS))('of a %s run tells what the page tells', (_name, input) => {
    const report = reportOf(input());
    const markdown = reportMarkdown(report) ?? '';
    expect(markdown.startsWith('## LOGIN-7: Rate-limit the login endpoint\n\n**')).toBe(true);
    for (const heading of ['Intake', 'Evidence', 'Changes']) expect(markdown).toContain(`\n### ${heading}\n`);
    expect(markdown.match(/<details>/g)?.length).toBe(markdown.match(/^<\/details>$/gm)?.length);
  });

  test('is as short as it has to be, down to where that is impossible', () => {
    const input = crowdedRun();
    const logs = new Map(
      [...input.logs.keys()].map((file) => [file, { text: 'x'.repeat(60_000), leftOut: 0 }]),
    );
    const report = reportOf({ ...longRun(), logs });
    const whole = Buffer.byteLength(reportMarkdown(report, 1e9) ?? '');
    for (const most of [whole, whole - 1, 20_000, 9_000, 5_000]) {
      expect(Buffer.byteLength(reportMarkdown(report, most) ?? '')).toBeGreaterThan(0);
      expect(Buffer.byteLength(reportMarkdown(report, most) ?? '')).toBeLessThanOrEqual(most);
    }
    expect(reportMarkdown(report, 100)).toBeNull();
    // A comment on GitHub takes 65,536 characters.
    expect(reportMarkdown(reportOf(hostileRun('word '.repeat(20_000))))?.length).toBeLessThan(65_536);
  });
});

/** The elements of a page in order, without what is in them. */
function shape(page: string): readonly string[] {
  return [...page.matchAll(/<[/!a-z][^\s>]*/gi)]
    .map(([tag]) => tag)
    .filter((tag) => !/^<\/?(text|p|br)$/.test(tag));
}

/** The lines of every table. */
function tables(markdown: string): string[][] {
  return markdown
    .split(/\n(?!\|)/)
    .map((block) => block.split('\n').filter((line) => line.startsWith('|')))
    .filter((lines) => lines.length > 0);
}

function cells(line: string): number {
  return line.split('|').length;
}

function contrast(one: string, other: string): number {
  const [light = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
