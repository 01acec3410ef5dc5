// environment.mjs: writes its whole environment into the test's folder, then lives until it is released.
import { appendFileSync, existsSync, renameSync, writeFileSync } from 'node:fs';

const { RIG_DIR, METAWSM_AGENT, METAWSM_ATTEMPT } = process.env;
appendFileSync(`${RIG_DIR}/starts`, `${METAWSM_AGENT} ${METAWSM_ATTEMPT} ${process.pid}\n`);
const file = `${RIG_DIR}/environment-${METAWSM_AGENT}.json`;
writeFileSync(`${file}.new`, JSON.stringify({ env: process.env, cwd: process.cwd() }));
renameSync(`${file}.new`, file);
setInterval(() => {
  if (existsSync(`${RIG_DIR}/release-${METAWSM_AGENT}`)) process.exit(0);
}, 50);
