import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { EventLine } from '../support/documents.js';
import { isAlive, type Running } from '../support/processes.js';
import { hasTmux, main, type Rig, test } from '../support/rig.js';

/** A live agent that only SIGKILL ends: stopping it takes some seconds. */
const stubborn = (rig: Rig): string[] => {
  const file = path.join(rig.dir, 'stubborn.sh');
  writeFileSync(
    file,
    `trap '' TERM
     echo "$METAWSM_AGENT $METAWSM_ATTEMPT $$" >> "$RIG_DIR/starts"
     touch "$RIG_DIR/alive-$METAWSM_AGENT-$METAWSM_ATTEMPT"
     [ -z "$1" ] || metawsm signal complete --summary done
     while :; do sleep 0.1; done\n`,
  );
  return ['sh', file];
};

/** A setup command that waits for the test. */
const waitingSetup = 'touch "$RIG_DIR/in-setup"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done';
const inApi = (keys: Record<string, unknown>) => ({
  repos: [{ name: 'api', path: '../repos/api', ...keys }],
});

/** Until a command tells that a step has begun. */
function atStep(rig: Rig, running: Running, id: string): Promise<unknown> {
  const isBegin = (line: string): boolean => {
    try {
      const event = JSON.parse(line) as EventLine;
      return event.type === 'step' && event.id === id && event.state === 'running';
    } catch {
      return false;
    }
  };
  return rig.until(`the begin of ${id}`, () => running.stdout().split('\n').some(isBegin));
}

interface Case {
  readonly command: string;
  readonly step: string;
  /** Makes the run; the command comes next. */
  readonly before: (rig: Rig) => Promise<void>;
  /** What ends it well afterwards. */
  readonly after: (rig: Rig) => Promise<void>;
}

const longGrace = { policy: { start_grace: '5s' } };

async function running(rig: Rig, state: string): Promise<void> {
  expect(await rig.state()).toBe(state);
  const { agents } = await rig.status();
  const live = agents.filter(({ pid }) => pid !== null && isAlive(pid));
  expect(live).toHaveLength(state === 'running' ? 1 : 0);
}

/** Until its agent is at work, in whatever attempt: one that a signal came before is given up. */
async function atWork(rig: Rig): Promise<void> {
  await rig.untilFile(`alive-agent-${(await rig.agentNamed()).attempt}`);
  await running(rig, 'running');
}

const cases: readonly Case[] = [
  {
    command: 'apply run.yaml',
    step: 'setup.run/api/1',
    before: async (rig) => void rig.manifest(inApi({ setup: [waitingSetup] })),
    after: async (rig) => {
      expect(await rig.state()).toBe('paused (interrupted)');
      expect(rig.starts()).toBe(0);
      rig.touch('go');
      await rig.run('resume run.yaml');
      await atWork(rig);
      expect(rig.starts()).toBe(1);
    },
  },
  {
    command: 'restart run.yaml',
    step: 'agent.start/agent',
    before: async (rig) => {
      rig.manifest(longGrace);
      await rig.applied();
    },
    after: async (rig) => {
      await rig.run('apply run.yaml');
      await atWork(rig);
      expect(rig.starts()).toBe(2);
    },
  },
  {
    command: 'iterate run.yaml --feedback More',
    step: 'agent.start/agent',
    before: async (rig) => {
      rig.manifest(longGrace);
      await rig.applied();
    },
    after: async (rig) => {
      await rig.run('apply run.yaml');
      await atWork(rig);
      expect(rig.starts()).toBe(2);
    },
  },
  {
    command: 'resume run.yaml',
    step: 'agent.start/agent',
    before: async (rig) => {
      rig.manifest(longGrace);
      await rig.applied();
      await rig.run('stop run.yaml');
    },
    after: async (rig) => {
      await rig.run('resume run.yaml');
      await atWork(rig);
      expect(rig.starts()).toBe(2);
    },
  },
  {
    command: 'stop run.yaml',
    step: 'agent.stop/agent',
    before: async (rig) => {
      rig.manifest({ agent: { command: stubborn(rig) } });
      await rig.applied();
    },
    after: async (rig) => {
      await rig.run('stop run.yaml');
      await running(rig, 'stopped');
      await rig.run('resume run.yaml');
      await running(rig, 'running');
    },
  },
  {
    command: 'cleanup run.yaml',
    step: 'agent.stop/agent',
    before: async (rig) => {
      rig.manifest({ agent: { command: stubborn(rig) } });
      await rig.applied();
    },
    after: async (rig) => {
      await rig.run('cleanup run.yaml');
      await running(rig, 'closed');
      expect(await rig.at(path.join(rig.dir, 'repos/api')).worktrees()).toEqual([]);
    },
  },
];

describe.each(['SIGINT', 'SIGTERM'] as const)('%s', (signal) => {
  const code = signal === 'SIGINT' ? 130 : 143;

  test.for(cases)(
    'ends $command cleanly, and it can be done again',
    async ({ command, step, before, after }, { rig }) => {
      await rig.repo('api');
      await before(rig);
      const command_ = rig.spawn(`${command} --json`);
      await atStep(rig, command_, step);
      if (signal === 'SIGINT') command_.interrupt();
      else command_.kill('SIGTERM');
      const { code: ended, text } = await command_.result;
      expect(ended, text).toBe(code);
      expect(text).not.toMatch(/\n\s+at |internal error/);
      // Nobody holds the run any more.
      await rig.run('status run.yaml');
      expect((await rig.status()).recorded).toBe(true);
      await after(rig);
    },
  );

  test('is named at the step that it ended, also at the start of an agent', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest(longGrace);
    const applying = rig.spawn('apply run.yaml');
    await rig.untilFile('alive-agent-1');
    if (signal === 'SIGINT') applying.interrupt();
    else applying.kill('SIGTERM');
    const { code: ended, stderr } = await applying.result;
    expect(ended).toBe(code);
    expect(stderr).toContain(`✖ agent.start/agent: interrupted by ${signal}\n`);
  });

  test('ends verify and the command that it runs', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({
      agents: [],
      done_criteria: [{ run: 'echo $$ > "$RIG_DIR/pid"; [ -e "$RIG_DIR/go" ] || sleep 1000' }],
    });
    await rig.run('apply run.yaml');
    const verifying = rig.spawn('verify run.yaml');
    const pid = Number(await rig.until('the criterion', async () => (await rig.untilFile('pid')).trim()));
    if (signal === 'SIGINT') verifying.interrupt();
    else verifying.kill('SIGTERM');
    expect((await verifying.result).code).toBe(code);
    expect(isAlive(pid)).toBe(false);
    expect((await rig.status()).criteria[0]?.state).toBe('unverified');
    rig.touch('go');
    await rig.run('verify run.yaml');
  });

  test('ends close between its steps, and close goes on', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agent: { command: [...stubborn(rig), 'complete'] }, done_criteria: [{ run: 'true' }] });
    await rig.run('apply run.yaml --wait');
    const closing = rig.spawn('close run.yaml --json');
    await atStep(rig, closing, 'agent.stop/agent');
    if (signal === 'SIGINT') closing.interrupt();
    else closing.kill('SIGTERM');
    expect((await closing.result).code).toBe(code);
    await rig.run('apply run.yaml', { code: 4 });
    await rig.run('close run.yaml');
    expect((await rig.status()).run).toMatchObject({ state: 'closed', outcome: 'delivered' });
  });

  test('ends whoever waits for a run that another holds', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest(inApi({ setup: [waitingSetup] }));
    const holder = rig.spawn('apply run.yaml');
    await rig.untilFile('in-setup');
    for (const command of [
      'guide run.yaml --answer yes',
      'apply run.yaml',
      'stop run.yaml',
      'cleanup run.yaml',
    ]) {
      const waiting = rig.spawn(`${command} --lock-timeout 60s --json`);
      await rig.until('the first line', () => waiting.stdout().includes('\n'));
      if (signal === 'SIGINT') waiting.interrupt();
      else waiting.kill('SIGTERM');
      const { code: ended, text } = await waiting.result;
      expect(ended, `${command}\n${text}`).toBe(code);
    }
    rig.touch('go');
    expect((await holder.result).code).toBe(0);
    expect(await rig.state()).toBe('running');
  });
});

test('a second SIGINT ends at once what a first one lets finish, and the command can be done again', async ({
  rig,
}) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: stubborn(rig) } });
  await rig.applied();
  const { pid } = await rig.agentNamed();
  const stopping = rig.spawn('stop run.yaml --json');
  await atStep(rig, stopping, 'agent.stop/agent');
  let ended = false;
  void stopping.result.finally(() => {
    ended = true;
  });
  // Two that come at once are one to the system.
  await rig.until('the end', () => {
    if (!ended) stopping.interrupt();
    return ended;
  });
  expect((await stopping.result).code).toBe(130);
  // Nothing was waited for: the agent has not been given up to SIGKILL.
  expect(isAlive(pid ?? 0)).toBe(true);
  await rig.run('stop run.yaml');
  expect(isAlive(pid ?? 0)).toBe(false);
  await running(rig, 'stopped');
  await rig.run('resume run.yaml');
  await running(rig, 'running');
});

test('--on-exit stop ends the agents after SIGTERM, and only there', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const waiting = rig.spawn('apply run.yaml --wait --on-exit stop');
  await rig.untilFile('alive-agent-1');
  await rig.untilDone('agent.start/agent');
  waiting.kill('SIGTERM');
  expect((await waiting.result).code).toBe(143);
  await running(rig, 'stopped');
});

test('--on-exit stop after a wait that ran out of time says how it goes on from there', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { text } = await rig.run('apply run.yaml --wait --timeout 1ms --on-exit stop', { code: 5 });
  expect(text).not.toContain('its agents go on');
  expect(text).toMatch(/next: metawsm resume ABC-1/);
  expect(await rig.state()).toBe('stopped');
});

describe.skipIf(!hasTmux)('at a terminal', () => {
  /** A pane of a tmux server of its own, in which a shell runs metawsm and tells how it ended. */
  let terminals = 0;

  class Terminal {
    /** Each has a server of its own: one that is just ending would take the next one's session with it. */
    private readonly socket = `terminal-${++terminals}`;

    constructor(
      private readonly rig: Rig,
      words: string,
    ) {
      const script = path.join(rig.dir, 'terminal.sh');
      // The shell outlives Ctrl-C; a handler is not inherited, so that metawsm gets its own.
      writeFileSync(
        script,
        `trap : INT\n'${process.execPath}' '${main}' ${words}\necho "ENDED $?"\nwhile :; do sleep 1000; done\n`,
      );
      this.tmux('new-session', '-d', '-s', 't', '-x', '100', '-y', '30', '-c', rig.project, `sh '${script}'`);
    }

    tmux(...args: string[]): string {
      return execFileSync('tmux', ['-L', this.socket, '-f', '/dev/null', ...args], {
        encoding: 'utf8',
        env: { ...this.rig.env },
        stdio: 'pipe',
      });
    }

    screen(): string {
      return this.tmux('capture-pane', '-p', '-t', 't');
    }

    until(what: RegExp): Promise<string> {
      return this.rig.until(`${what} on the screen`, () =>
        what.test(this.screen()) ? this.screen() : false,
      );
    }

    interrupt(): void {
      this.tmux('send-keys', '-t', 't', 'C-c');
    }

    /** Whether the cursor can be seen. */
    cursor(): boolean {
      return this.tmux('display-message', '-p', '-t', 't', '#{cursor_flag}').trim() === '1';
    }

    end(): void {
      this.tmux('kill-server');
    }
  }

  test('Ctrl-C in the live tree ends the step, shows the cursor, and apply goes on', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest(inApi({ setup: [waitingSetup] }));
    const terminal = new Terminal(rig, 'apply run.yaml');
    try {
      await rig.untilFile('in-setup');
      await terminal.until(/setup\.run\/api\/1/);
      await rig.until('the hidden cursor', () => !terminal.cursor());
      terminal.interrupt();
      const screen = await terminal.until(/ENDED \d+/);
      expect(screen).toContain('ENDED 130');
      expect(screen).toMatch(/interrupted/);
      expect(terminal.cursor()).toBe(true);
    } finally {
      terminal.end();
    }
    expect(await rig.state()).toBe('paused (interrupted)');
    rig.touch('go');
    await rig.run('apply run.yaml');
    await running(rig, 'running');
  });

  test('Ctrl-C at a question is no answer: nothing is done, and the next manifest is not begun', async ({
    rig,
  }) => {
    await rig.repo('api');
    rig.manifest();
    await rig.applied();
    const { pid } = await rig.agentNamed();
    rig.manifest({ agent: { command: 'echo another' } });
    rig.manifest({ ticket: 'ABC-2' }, 'second.yaml');
    const terminal = new Terminal(rig, 'apply run.yaml second.yaml');
    try {
      await terminal.until(/Go on\?/);
      terminal.interrupt();
      const screen = await terminal.until(/ENDED \d+/);
      expect(screen).toContain('ENDED 130');
      expect(screen).toMatch(/^metawsm: ABC-1: interrupted by SIGINT$/m);
    } finally {
      terminal.end();
    }
    await running(rig, 'running');
    expect(isAlive(pid ?? 0)).toBe(true);
    expect(await rig.runs()).toHaveLength(1);
  });

  test('twice Ctrl-C ends at once and shows the cursor', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agent: { command: stubborn(rig) } });
    await rig.applied();
    const { pid } = await rig.agentNamed();
    const terminal = new Terminal(rig, 'stop run.yaml');
    try {
      await terminal.until(/agent\.stop\/agent/);
      await rig.until('the hidden cursor', () => !terminal.cursor());
      // Two that come at once are one to the system.
      const screen = await rig.until('the end', () => {
        const now = terminal.screen();
        if (/ENDED \d+/.test(now)) return now;
        terminal.interrupt();
        return false;
      });
      expect(screen).toContain('ENDED 130');
      expect(terminal.cursor()).toBe(true);
    } finally {
      terminal.end();
    }
    expect(isAlive(pid ?? 0)).toBe(true);
    await rig.run('stop run.yaml');
    await running(rig, 'stopped');
  });

  test('Ctrl-C ends the wait and status --watch, and leaves the agent alone', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest();
    const terminal = new Terminal(rig, 'apply run.yaml --wait');
    try {
      await rig.untilFile('alive-agent-1');
      await terminal.until(/✔ agent\.start\/agent/);
      await rig.untilDone('agent.start/agent');
      terminal.interrupt();
      expect(await terminal.until(/ENDED \d+/)).toContain('ENDED 130');
      expect(terminal.cursor()).toBe(true);
    } finally {
      terminal.end();
    }
    const watching = new Terminal(rig, 'status run.yaml --watch');
    try {
      await watching.until(/running/);
      watching.interrupt();
      expect(await watching.until(/ENDED \d+/)).toContain('ENDED 130');
      expect(watching.cursor()).toBe(true);
    } finally {
      watching.end();
    }
    await running(rig, 'running');
  });
});
