// StyLua's WebAssembly build over files: `stylua.mjs --check|--fix FILE...`. The style is what is set here.
import { readFileSync, writeFileSync } from 'node:fs';
import { Config, IndentType, OutputVerification, QuoteStyle, formatCode } from '@johnnymorganz/stylua';

const [mode, ...files] = process.argv.slice(2);
let differ = 0;
for (const file of files) {
  const config = Config.new();
  config.column_width = 120;
  config.indent_type = IndentType.Spaces;
  config.indent_width = 2;
  config.quote_style = QuoteStyle.AutoPreferSingle;
  const before = readFileSync(file, 'utf8');
  const after = formatCode(before, config, undefined, OutputVerification.None);
  if (after === before) continue;
  differ += 1;
  if (mode === '--fix') writeFileSync(file, after);
  else console.error(`${file} is not formatted: make fmt does it`);
}
process.exit(mode === '--fix' || !differ ? 0 : 1);
