import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lookupRegistry } from '../../src/tools/wsm.js';
import { write } from './git-rig.js';

let home = '';
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'metawsm-wsm-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const FILE = 'workspace-manager/registry.json';
const repos = (...names: readonly string[]) => ({
  repositories: names.map((name) => ({ name, path: `/src/${name}`, remote_url: '', tags: null })),
  last_scan: '2025-01-01T00:00:00Z',
});

describe('lookupRegistry', () => {
  test('finds the path, under XDG_CONFIG_HOME, ~/.config and on macOS', async () => {
    write(home, `.config/${FILE}`, JSON.stringify(repos('api')));
    expect(await lookupRegistry('api', { HOME: home }, 'linux')).toEqual({ path: '/src/api' });
    write(home, `xdg/${FILE}`, JSON.stringify(repos('web')));
    const env = { HOME: home, XDG_CONFIG_HOME: join(home, 'xdg') };
    expect(await lookupRegistry('web', env, 'linux')).toEqual({ path: '/src/web' });
    expect(await lookupRegistry('web', env, 'darwin')).toEqual({ path: '/src/web' });
    write(home, `Library/Application Support/${FILE}`, JSON.stringify(repos('mac')));
    expect(await lookupRegistry('mac', env, 'darwin')).toEqual({ path: '/src/mac' });
  });

  test('a name that is not there: the file and near names', async () => {
    write(home, `.config/${FILE}`, JSON.stringify(repos('api', 'api-gateway', 'web', 'constructor')));
    const { problem } = (await lookupRegistry('apu', { HOME: home }, 'linux')) as { problem: string };
    expect(problem).toContain(join(home, '.config', FILE));
    expect(problem).toMatch(/; it has api$/);
    const longer = (await lookupRegistry('gateway', { HOME: home }, 'linux')) as { problem: string };
    expect(longer.problem).toMatch(/; it has api-gateway$/);
  });

  test('no registry, a broken one, one name twice', async () => {
    const look = () => lookupRegistry('api', { HOME: home }, 'linux');
    expect(await look()).toEqual({ problem: expect.stringContaining('no registry') });
    for (const text of ['', '[]', 'null', '{"repositories": 3}']) {
      write(home, `.config/${FILE}`, text);
      expect(await look()).toEqual({ problem: expect.stringContaining('not what wsm writes') });
    }
    write(home, `.config/${FILE}`, '{"repositories": null}');
    expect(await look()).toEqual({ problem: expect.stringContaining('no repo named api') });
    const twice = [...repos('api').repositories, { name: 'api', path: '/other/api' }];
    write(home, `.config/${FILE}`, JSON.stringify({ repositories: twice }));
    expect(await look()).toEqual({ problem: expect.stringContaining('/src/api, /other/api') });
    write(home, `.config/${FILE}`, JSON.stringify({ repositories: [{ name: 'api', path: 'api' }] }));
    expect(await look()).toEqual({ problem: expect.stringContaining('no absolute path') });
  });
});
