// Fails when git would leave a source file out of a clone: an ignore pattern that matches too much hides it
// from `git status` and from every reviewer.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDERS = ['src', 'schemas', 'manifests', 'test'];
const root = fileURLToPath(new URL('../..', import.meta.url));

function git(...args) {
  const text = execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  return text.split('\0').filter((file) => file !== '');
}

if (!existsSync(path.join(root, '.git'))) {
  console.log('not a git checkout: ignored files are not looked for');
  process.exit(0);
}
const ignored = git('ls-files', '-z', '--others', '--ignored', '--exclude-standard', '--', ...FOLDERS);
const seen = new Set(git('ls-files', '-z', '--cached', '--others', '--', ...FOLDERS));
const hidden = FOLDERS.filter((folder) => existsSync(path.join(root, folder)))
  .flatMap((folder) => readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true }))
  .filter((entry) => !entry.isDirectory())
  .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
  .filter((file) => !seen.has(file));

for (const file of ignored) console.error(`${file}: ignored by git (see git check-ignore -v ${file})`);
for (const file of hidden) console.error(`${file}: not seen by git (a repository of its own?)`);
process.exitCode = ignored.length + hidden.length > 0 ? 1 : 0;
