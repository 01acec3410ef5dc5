/**
 * Loaded by the bench into a metawsm (`node --import`): counts the programs that it starts and, when it ends,
 * writes them with its peak memory to the file that METAWSM_BENCH_COUNT names.
 */
import childProcess from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename } from 'node:path';

const programs = [];

// Every asynchronous way to start a program ends here.
const { spawn } = childProcess.ChildProcess.prototype;
childProcess.ChildProcess.prototype.spawn = function (options) {
  programs.push(basename(options.file));
  return spawn.call(this, options);
};
for (const name of ['spawnSync', 'execFileSync', 'execSync']) {
  const original = childProcess[name];
  childProcess[name] = (file, ...rest) => {
    programs.push(name === 'execSync' ? 'sh' : basename(String(file)));
    return original(file, ...rest);
  };
}
syncBuiltinESMExports();

process.on('exit', () => {
  const peak = process.resourceUsage().maxRSS;
  writeFileSync(process.env.METAWSM_BENCH_COUNT, JSON.stringify({ programs, peak }));
});
