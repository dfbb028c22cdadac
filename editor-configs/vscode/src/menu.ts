/** What a click on the status item offers. */

import { type QuickPickItem, commands, window } from "vscode";
import { enabled } from "./settings";
import type { Session } from "./session";

interface Entry extends QuickPickItem {
  readonly command: string;
  readonly argument?: string;
}

/** Show the state, let a person choose, and do what was chosen. */
export async function showMenu(session: Session): Promise<void> {
  const language = window.activeTextEditor?.document.languageId;
  const entries: Entry[] = [
    { label: session.off ? "$(play) Turn Suggestions On" : "$(debug-pause) Turn Suggestions Off", command: "starling.toggle" },
    { label: "$(sparkle) Suggest Here", command: "starling.trigger" },
    { label: "$(refresh) Restart the Language Server", command: "starling.restart" },
    { label: "$(output) Show the Log", command: "starling.showLog" },
    { label: "$(gear) Open Settings", command: "workbench.action.openSettings", argument: "@ext:starling.starling" },
  ];
  if (language !== undefined) {
    const word = enabled(language) ? "Off" : "On";
    entries.splice(1, 0, { label: `$(code) Turn Suggestions ${word} for ${language}`, command: "starling.toggleLanguage" });
  }
  const chosen = await window.showQuickPick(entries, { title: session.status.sentence });
  if (chosen !== undefined) {
    await commands.executeCommand(chosen.command, ...(chosen.argument === undefined ? [] : [chosen.argument]));
  }
}
