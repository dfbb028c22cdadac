/** The token that a server asks for: kept by VS Code's secret storage, handed to the language server in its environment. */

import { type SecretStorage, window } from "vscode";

const KEY = "starling.token";

export class Token {
  constructor(private readonly secrets: SecretStorage) {}

  /** What the language server's process gets to know. */
  async environment(): Promise<Record<string, string>> {
    const token = await this.secrets.get(KEY);
    return token === undefined ? {} : { STARLING_TOKEN: token };
  }

  /** Ask a person for it; nothing typed forgets the one that is kept. Whether there was an answer. */
  async ask(): Promise<boolean> {
    const token = await window.showInputBox({
      title: "Starling: token of the server",
      prompt: "As the server's administrator gave it to you. Leave it empty to forget the one that is kept.",
      password: true,
      ignoreFocusOut: true,
    });
    if (token === undefined) {
      return false;
    }
    await (token.trim() === "" ? this.secrets.delete(KEY) : this.secrets.store(KEY, token.trim()));
    return true;
  }
}
