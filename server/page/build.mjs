// Bundles the page into the Python package, and writes down what it was built from, so that a test can tell.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const target = "../starling_server/page";

await build({
  entryPoints: ["src/page.ts"],
  bundle: true,
  outfile: `${target}/page.js`,
  format: "iife",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
});

const digest = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");
const names = ["package-lock.json", "package.json", "tsconfig.json", ...readdirSync("src").map((file) => `src/${file}`)];
const sources = Object.fromEntries(names.sort().map((name) => [name, digest(name)]));
writeFileSync(`${target}/built.json`, `${JSON.stringify({ "page.js": digest(`${target}/page.js`), sources }, null, 2)}\n`);
