import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { compiled } from '../support/compile.js';

const [context, errors] = await compiled('cli/context', 'cli/errors');

/** Runs a script that listens for signals; each line it prints is answered with a signal, while there are any. */
async function interrupt(script: string, ...signals: NodeJS.Signals[]) {
  const source = `
    import { guardOutput, listenForInterrupts } from '${context}';
    import { interruptedBy } from '${errors}';
    const interrupts = listenForInterrupts();
    setInterval(() => {}, 1000);
    ${script}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
    const signal = signals.shift();
    if (signal) child.kill(signal);
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, stdout, stderr };
}

describe('SIGINT and SIGTERM', () => {
  const asks = `
    const { signal } = { signal: interrupts.signal() };
    signal.addEventListener('abort', () => console.log('aborted by ' + interruptedBy(signal)));
    console.log('ready ' + interruptedBy(signal) + ' ' + interrupts.received());`;

  test('end at once what does not ask for them', async () => {
    expect(await interrupt(`console.log('ready')`, 'SIGINT')).toMatchObject({ code: 130, signal: null });
    expect(await interrupt(`console.log('ready')`, 'SIGTERM')).toMatchObject({ code: 143, signal: null });
  });

  test('first abort what asks for them, then end it', async () => {
    expect(await interrupt(asks, 'SIGINT', 'SIGTERM')).toEqual({
      code: 143,
      signal: null,
      stdout: 'ready null null\naborted by SIGINT\n',
      stderr: '',
    });
    expect(await interrupt(asks, 'SIGTERM', 'SIGINT')).toMatchObject({
      code: 130,
      stdout: 'ready null null\naborted by SIGTERM\n',
    });
  });

  test('are the system’s again when disposed', async () => {
    expect(await interrupt(`interrupts.dispose(); console.log('ready')`, 'SIGTERM')).toMatchObject({
      code: null,
      signal: 'SIGTERM',
    });
  });
});

test('a reader that is gone aborts what follows something, and ends nothing', async () => {
  const source = `
    import { guardOutput } from '${context}';
    const closed = guardOutput();
    const timer = setInterval(() => process.stdout.write('line\\n'), 5);
    closed.addEventListener('abort', () => {
      clearInterval(timer);
      process.stdout.write('one more\\n');
      process.stderr.write('went on');
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const [code] = await once(child, 'close');
  expect([code, stderr]).toEqual([0, 'went on']);
});
