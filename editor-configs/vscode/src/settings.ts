/** The section `starling` of VS Code's settings. */

import { workspace } from "vscode";

export const SECTION = "starling";
const EVERY = "*";

export interface Settings {
  readonly enable: Readonly<Record<string, boolean>>;
  readonly triggerMode: "auto" | "manual";
  readonly serverPath: string | null;
  readonly serverArgs: readonly string[];
  readonly serverUrl: string | null;
}

/** Settings that the extension itself acts on, as they are now. */
export function settings(): Settings {
  const section = workspace.getConfiguration(SECTION);
  return {
    enable: section.get("enable", {}),
    triggerMode: section.get("triggerMode", "auto"),
    serverPath: section.get<string | null>("serverPath", null) || null,
    serverArgs: section.get("serverArgs", []),
    serverUrl: section.get<string | null>("serverUrl", "auto") || null,
  };
}

/** What the language server is told at its start and at every change. */
export function serverOptions(): Record<string, unknown> {
  const section = workspace.getConfiguration(SECTION);
  const passed = ["enable", "triggerMode", "mode", "comments", "maxTokens", "debounce", "adapter", "base", "runner", "statistics"];
  const options = Object.fromEntries(passed.map((name) => [name, section.get(name)]));
  return { ...options, server: settings().serverUrl };
}

/** Whether documents of this language get suggestions. */
export function enabled(language: string): boolean {
  const { enable } = settings();
  return enable[language] ?? enable[EVERY] ?? true;
}

/** Turn one language on or off, for the user; what holds then. */
export async function toggleLanguage(language: string): Promise<boolean> {
  const on = !enabled(language);
  const section = workspace.getConfiguration(SECTION);
  await section.update("enable", { ...settings().enable, [language]: on }, true);
  return on;
}
