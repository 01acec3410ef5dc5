import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readAttempt, voidAttempt } from '../../src/sessions/attempt.js';
import { observeAttempt } from '../../src/sessions/observe.js';
import { selfIdentity } from '../../src/tools/process.js';

describe('an attempt', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'metawsm-attempt-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const write = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value));
  const self = selfIdentity();
  const start = {
    pid: self.pid,
    pidStart: self.pidStart,
    wrapperPid: self.pid,
    wrapperPidStart: self.pidStart,
    bootId: self.bootId,
    host: self.host,
    startedAt: 5,
  };

  it('that nobody has begun says so, and may be missing', async () => {
    const nothing = { claim: 'none', wrapper: 'unknown', process: null, started: null, exit: null };
    expect(await observeAttempt(folder)).toMatchObject(nothing);
    expect(await observeAttempt(join(folder, 'missing'))).toMatchObject({ ...nothing, lastOutputAt: null });
    expect(voidAttempt(join(folder, 'missing'))).toBe('voided');
  });

  it("with damaged records is somebody's, and nothing in it is believed", async () => {
    for (const name of ['claim', 'started.json', 'exit.json']) writeFileSync(join(folder, name), '{"pid":');
    expect(readAttempt(folder)).toMatchObject({
      claim: 'wrapper',
      claimIdentity: null,
      started: null,
      exit: null,
    });
    expect(await observeAttempt(folder)).toMatchObject({
      claim: 'wrapper',
      wrapper: 'unknown',
      process: null,
    });
    expect(voidAttempt(folder)).toBe('already-claimed');
    for (const name of ['started.json', 'exit.json']) write(name, { pid: '1', exitCode: 0 });
    expect(readAttempt(folder)).toMatchObject({ started: null, exit: null });
  });

  it('is read without following links and without reading without end', () => {
    writeFileSync(join(folder, 'elsewhere'), JSON.stringify({ exitCode: 0, startedAt: 1, endedAt: 2 }));
    symlinkSync('elsewhere', join(folder, 'exit.json'));
    expect(readAttempt(folder).exit).toBe(null);
    rmSync(join(folder, 'exit.json'));
    writeFileSync(join(folder, 'exit.json'), '');
    truncateSync(join(folder, 'exit.json'), 1e12);
    expect(readAttempt(folder).exit).toBe(null);
  });

  it('of an earlier boot is dead, and said to be so', async () => {
    write('claim', { by: 'wrapper', ...self, bootId: 'another', at: 4 });
    write('started.json', { ...start, bootId: 'another' });
    expect(await observeAttempt(folder)).toMatchObject({
      wrapper: 'dead',
      process: 'dead',
      rebooted: true,
      exit: null,
    });
  });

  it('of another host is unknown, until its end is recorded', async () => {
    write('claim', { by: 'wrapper', ...self, host: 'far.invalid', at: 4 });
    write('started.json', { ...start, host: 'far.invalid' });
    const far = { wrapper: 'unknown', rebooted: false, exit: null };
    expect(await observeAttempt(folder)).toMatchObject({ ...far, process: 'unknown' });
    const exit = { exitCode: 0, signal: null, startedAt: 5, endedAt: 6, error: null };
    write('exit.json', exit);
    expect(await observeAttempt(folder)).toMatchObject({ process: 'dead', exit });
  });

  it('has had output once its log is not empty', async () => {
    writeFileSync(join(folder, 'agent.log'), '');
    expect((await observeAttempt(folder)).lastOutputAt).toBe(null);
    writeFileSync(join(folder, 'agent.log'), 'x');
    expect((await observeAttempt(folder)).lastOutputAt).toBe(readAttempt(folder).log?.mtime);
  });
});
