// Another process that uses the store, for the tests: see support.ts.
import { once } from 'node:events';

const [store, tools, what, json] = process.argv.slice(2);
const { Store } = await import(store);
const { probe, selfIdentity } = await import(tools);
const argument = JSON.parse(json);
const options = { version: '1.2.3', owner: { ...selfIdentity(), command: 'apply worker.yaml' }, probe };

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

say('ready');
await once(process.stdin, 'data');
process.stdin.unref();

switch (what) {
  case 'open': {
    const store = await Store.create(argument.state, options);
    await store.appendEvent(null, 'test', {});
    await store.close();
    say('opened');
    break;
  }
  case 'create-run': {
    const store = await Store.create(argument.state, options);
    const { kind, runId } = await store.createRun(argument.run, { beside: false });
    await store.close();
    say({ kind, runId });
    break;
  }
  case 'hold': {
    const store = await Store.create(argument.state, options);
    await store.acquireLock(argument.name, { timeoutMs: 5000 });
    say('held');
    await new Promise(() => setInterval(() => {}, 1000));
    break;
  }
  case 'count': {
    const store = await Store.open(argument.state, options);
    for (let i = 0; i < argument.times; i++) {
      const lock = await store.acquireLock('run:run-1', { timeoutMs: 30_000 });
      const { detail } = await store.loadRun('run-1');
      await store.transitionRun('run-1', 'planning', { detail: String(Number(detail ?? 0) + 1) });
      await lock.release();
    }
    await store.close();
    say('counted');
    break;
  }
  case 'fill': {
    const store = await Store.open(argument.state, options);
    let written = 0;
    try {
      for (; written < 10_000; written++) await store.appendEvent(null, 'test', { text: 'x'.repeat(10_000) });
      say({ written });
    } catch (error) {
      say({ written, name: error.name, code: error.code, hint: error.hint });
    }
    break;
  }
  default:
    throw new Error(`no such worker: ${what}`);
}
