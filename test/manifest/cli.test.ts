import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { schemaCommand } from '../../src/cli/schema.js';
import { validateCommand } from '../../src/cli/validate.js';
import { expandManifestArguments } from '../../src/manifest/files.js';
import { minimal } from './minimal.js';

const schemas = fileURLToPath(new URL('../../schemas/', import.meta.url));
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metawsm-validate-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function validate(files: string[], json = false) {
  let stdout = '';
  let stderr = '';
  const code = await validateCommand(files, {
    json,
    cwd: folder,
    env: { HOME: '/home/me' },
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
  });
  return { code, stdout, stderr };
}

async function write(name: string, text: string) {
  await mkdir(join(folder, name, '..'), { recursive: true });
  await writeFile(join(folder, name), text);
}

describe('validate', () => {
  test('says which files are valid, and what is wrong with the others', async () => {
    await write('a.yaml', minimal());
    await write('b.yaml', minimal({ ticket: 'ticket: a..b' }));
    expect(await validate(['a.yaml'])).toEqual({ code: 0, stdout: 'a.yaml: valid\n', stderr: '' });
    const both = await validate(['b.yaml', 'a.yaml']);
    expect(both.code).toBe(65);
    expect(both.stdout).toBe('a.yaml: valid\n');
    expect(both.stderr).toMatch(/^b\.yaml:2:9: ticket is "a\.\.b".*\n$/);
  });

  test('looks at the manifests of a folder, not deeper', async () => {
    await write('runs/b.yml', minimal());
    await write('runs/a.yaml', minimal());
    await write('runs/_shared.yaml', 'x');
    await write('runs/notes.txt', 'x');
    await write('runs/deep/c.yaml', 'x');
    // What an editor leaves, and a folder that is called like a manifest.
    await symlink('nobody@nowhere.1', join(folder, 'runs/.#a.yaml'));
    await write('runs/.hidden.yaml', 'x');
    await write('runs/folder.yaml/d.yaml', 'x');
    const expected = { code: 0, stdout: 'runs/a.yaml: valid\nruns/b.yml: valid\n', stderr: '' };
    expect(await validate(['runs'])).toEqual(expected);
    expect(await validate(['runs/'])).toEqual(expected);
    expect(await validate(['runs', 'runs/a.yaml', './runs/b.yml'])).toEqual(expected);
  });

  test('refuses a folder without manifests, and still looks at the rest', async () => {
    await write('empty/_x.yaml', 'x');
    await write('a.yaml', minimal());
    const { code, stdout, stderr } = await validate(['empty', 'a.yaml', 'gone.yaml']);
    expect(code).toBe(65);
    expect(stdout).toBe('a.yaml: valid\n');
    expect(stderr).toMatch(
      /^empty:1:1: the folder has no manifests; .*\ngone\.yaml:1:1: no such file; .*\n$/,
    );
    expect(await expandManifestArguments(['a.yaml', 'empty', ''], folder)).toMatchObject({
      ok: false,
      problems: [{ file: 'empty' }, { file: '' }],
    });
  });

  test('prints a document that follows its schema', async () => {
    await write('a.yaml', minimal());
    await write('b.yaml', 'version: 2\nrepos: [1, {name: ../x}]\n');
    const { code, stdout, stderr } = await validate(['a.yaml', 'b.yaml', 'gone.yaml'], true);
    expect(code).toBe(65);
    expect(stderr).toBe('');
    const document = JSON.parse(stdout);
    const schema = JSON.parse(await readFile(join(schemas, 'validate.schema.json'), 'utf8'));
    const check = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(schema);
    expect(check(document), JSON.stringify(check.errors)).toBe(true);
    expect(document).toMatchObject({
      format_version: 1,
      kind: 'validate',
      valid: false,
      files: [
        { file: join(folder, 'a.yaml'), valid: true, problems: [] },
        { file: join(folder, 'b.yaml'), valid: false },
        { file: join(folder, 'gone.yaml'), valid: false, problems: [{ line: 1, column: 1, path: '' }] },
      ],
    });
    expect(document.files[1].problems).toContainEqual({
      file: join(folder, 'b.yaml'),
      line: 2,
      column: 19,
      path: '/repos/1/name',
      message: 'repos[1].name is "../x", which is not valid',
      suggestion: expect.stringContaining('it names a folder'),
    });
    expect(JSON.parse((await validate(['a.yaml'], true)).stdout)).toMatchObject({ valid: true });
  });
});

describe('schema', () => {
  test('prints a schema, the manifest by default', async () => {
    let stdout = '';
    const options = {
      stdout: (text: string) => {
        stdout += text;
      },
    };
    expect(await schemaCommand(undefined, options)).toBe(0);
    expect(JSON.parse(stdout).title).toBe('Manifest');
    stdout = '';
    expect(await schemaCommand('validate', options)).toBe(0);
    expect(stdout).toBe(await readFile(join(schemas, 'validate.schema.json'), 'utf8'));
  });

  test('refuses an unknown name with those that there are', async () => {
    const names = (await readdir(schemas)).filter((name) => name.endsWith('.schema.json'));
    for (const name of ['nope', '../package', 'manifest.schema.json', '']) {
      await expect(schemaCommand(name, { stdout: () => {} })).rejects.toMatchObject({
        exitCode: 64,
        hint: `there are: ${names
          .map((file) => file.slice(0, -'.schema.json'.length))
          .sort()
          .join(', ')}`,
      });
    }
  });
});
