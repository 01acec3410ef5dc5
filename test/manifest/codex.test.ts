import { describe, expect, test } from 'vitest';
import { trustCodex } from '../../src/manifest/codex.js';
import type { Command } from '../../src/manifest/intent.js';

const FLAG = '--skip-git-repo-check';

describe("codex's trust flag", () => {
  const changed: [Command, Command][] = [
    ['codex exec', `codex exec ${FLAG}`],
    ['codex exec "do it"', `codex exec ${FLAG} "do it"`],
    ['  codex   exec\tx', `  codex   exec ${FLAG}\tx`],
    ['\n# start it\ncodex exec x\n', `\n# start it\ncodex exec ${FLAG} x\n`],
    ['cd api && codex exec x', `cd api && codex exec ${FLAG} x`],
    ['cd api&&codex exec x', `cd api&&codex exec ${FLAG} x`],
    ['cd api; codex exec x', `cd api; codex exec ${FLAG} x`],
    ['cd api ;\n  codex exec x', `cd api ;\n  codex exec ${FLAG} x`],
    ['codex exec;echo', `codex exec ${FLAG};echo`],
    ['codex exec - < "$METAWSM_BRIEF"', `codex exec ${FLAG} - < "$METAWSM_BRIEF"`],
    ['codex exec "$(cat "a; codex exec b")"', `codex exec ${FLAG} "$(cat "a; codex exec b")"`],
    ["codex exec 'x && codex exec y'", `codex exec ${FLAG} 'x && codex exec y'`],
    [`codex exec "say ${FLAG}"`, `codex exec ${FLAG} "say ${FLAG}"`],
    [`codex exec x && echo ${FLAG}`, `codex exec ${FLAG} x && echo ${FLAG}`],
    [`codex exec -- ${FLAG}`, `codex exec ${FLAG} -- ${FLAG}`],
    ['codex exec a && codex exec b', `codex exec ${FLAG} a && codex exec ${FLAG} b`],
    [`codex exec ${FLAG} a; codex exec b`, `codex exec ${FLAG} a; codex exec ${FLAG} b`],
    ['codex exec x 2>&1 | tee log', `codex exec ${FLAG} x 2>&1 | tee log`],
    ['echo "it\'s" && codex exec x', `echo "it's" && codex exec ${FLAG} x`],
    [
      ['codex', 'exec', 'x'],
      ['codex', 'exec', FLAG, 'x'],
    ],
    [
      ['codex', 'exec'],
      ['codex', 'exec', FLAG],
    ],
    [
      ['codex', 'exec', '--', FLAG],
      ['codex', 'exec', FLAG, '--', FLAG],
    ],
  ];
  test.each(changed)('%j → %j', (command, expected) => {
    expect(trustCodex(command)).toEqual(expected);
  });

  test.each(changed)('%j is changed once', (command) => {
    const once = trustCodex(command);
    expect(trustCodex(once)).toEqual(once);
  });

  const kept: Command[] = [
    `codex exec ${FLAG} x`,
    `codex exec --json ${FLAG} x`,
    `codex exec "${FLAG}" x`,
    `codex exec 2>&1 ${FLAG}`,
    `codex exec "$(cat x)" ${FLAG}`,
    `codex exec $(cat x; cat y) ${FLAG}`,
    `codex exec \\\n  ${FLAG} x`,
    'echo codex exec',
    'echo "x && codex exec y"',
    "echo 'x; codex exec y'",
    'echo x \\; codex exec y',
    'true # && codex exec x',
    '"codex" exec x',
    'codex executor x',
    'codex resume',
    'mycodex exec x',
    'cat x | codex exec',
    './agent.sh',
    '',
    ['codex', 'exec', '--json', FLAG],
    ['bash', '-c', 'codex exec x'],
    ['codex exec'],
    ['env', 'codex', 'exec'],
    ['codex'],
  ];
  test.each(kept.map((command) => [command]))('%j stays', (command) => {
    expect(trustCodex(command)).toEqual(command);
  });

  test('takes hostile nesting for one word', () => {
    const deep = `codex exec ${'"$('.repeat(100_000)}`;
    expect(trustCodex(deep)).toBe(deep.replace('exec', `exec ${FLAG}`));
    const long = 'codex exec;'.repeat(80_000);
    expect(trustCodex(long)).toBe(`codex exec ${FLAG};`.repeat(80_000));
  });
});
