import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const generator = `${root}schemas/generate.mjs`;

interface Generator {
  referenceTable(schema: unknown): string;
  withReference(readme: string, table: string): string | null;
}

describe('what follows from the schemas', () => {
  test('is up to date: else run `npm run generate`', async () => {
    const run = promisify(execFile)(process.execPath, [generator, '--check'], { cwd: root });
    const { stdout } = await run.catch((error: { stdout: string }) => error);
    expect(stdout).toBe('');
  });

  test('needs nothing at run time', () => {
    for (const file of ['src/manifest/validator.generated.ts', 'src/sentinels/validators.generated.ts']) {
      expect(readFileSync(root + file, 'utf8')).not.toMatch(/require\(|^import /m);
    }
  });

  test('puts the reference between its marks in a README', async () => {
    const { referenceTable, withReference } = (await import(generator)) as Generator;
    const schema = JSON.parse(readFileSync(`${root}schemas/manifest.schema.json`, 'utf8'));
    const table = referenceTable(schema);
    expect(table).toContain('| `repos[].name` | text | required |');
    expect(table).toContain('| `policy.health.idle` | duration | `5m` |');
    expect(table).not.toContain('undefined');
    const readme = 'a\n<!-- manifest-reference:begin -->\nold\n<!-- manifest-reference:end -->\nb\n';
    expect(withReference(readme, 'NEW')).toBe(
      'a\n<!-- manifest-reference:begin -->\nNEW\n<!-- manifest-reference:end -->\nb\n',
    );
    expect(withReference('no marks', 'NEW')).toBeNull();
  });

  test('describes every key', () => {
    const schema = JSON.parse(readFileSync(`${root}schemas/manifest.schema.json`, 'utf8'));
    const visit = (node: Record<string, unknown>): void => {
      for (const [key, child] of Object.entries(
        (node.properties ?? {}) as Record<string, Record<string, unknown>>,
      )) {
        expect(child.description, key).toEqual(expect.any(String));
        visit(child);
      }
      if (node.pattern !== undefined) expect(node.$comment).toEqual(expect.any(String));
      for (const child of Object.values((node.$defs ?? {}) as Record<string, Record<string, unknown>>))
        visit(child);
      if (typeof node.items === 'object') visit(node.items as Record<string, unknown>);
    };
    visit(schema);
  });
});
