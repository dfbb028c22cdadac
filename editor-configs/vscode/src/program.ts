/** Where the program `starling-lsp` is. */

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { workspace } from "vscode";
import { settings } from "./settings";

const WINDOWS = process.platform === "win32";
const NAME = WINDOWS ? "starling-lsp.exe" : "starling-lsp";
const ENVIRONMENTS = [".venv", "venv"];

export const INSTALL = "pip install 'starling[server]'";

/** The setting, else the workspace's virtual environment where it is trusted, else PATH; nothing where it is nowhere. */
export function program(): string | undefined {
  const named = settings().serverPath;
  return named ?? [...ofWorkspace(), ...ofPath()].find((path) => existsSync(path));
}

function ofWorkspace(): string[] {
  if (!workspace.isTrusted) {
    return [];
  }
  const folders = (workspace.workspaceFolders ?? []).map((folder) => folder.uri.fsPath);
  return folders.flatMap((folder) => ENVIRONMENTS.map((name) => join(folder, name, WINDOWS ? "Scripts" : "bin", NAME)));
}

function ofPath(): string[] {
  return (process.env["PATH"] ?? "").split(delimiter).filter(Boolean).map((folder) => join(folder, NAME));
}
