/** The languages of the page by their ids in LSP, which is what `/complete` takes. */

import { cpp } from "@codemirror/lang-cpp";
import { go } from "@codemirror/lang-go";
import { java } from "@codemirror/lang-java";
import { javascript } from "@codemirror/lang-javascript";
import { php } from "@codemirror/lang-php";
import { python } from "@codemirror/lang-python";
import { rust } from "@codemirror/lang-rust";
import { StreamLanguage } from "@codemirror/language";
import { csharp } from "@codemirror/legacy-modes/mode/clike";
import { ruby } from "@codemirror/legacy-modes/mode/ruby";
import type { Extension } from "@codemirror/state";

export interface Language {
  name: string;
  indent: string;
  support: () => Extension;
}

const SPACES = "    ";

export const LANGUAGES: Record<string, Language> = {
  python: { name: "Python", indent: SPACES, support: python },
  javascript: { name: "JavaScript", indent: "  ", support: () => javascript({ jsx: true }) },
  typescript: { name: "TypeScript", indent: "  ", support: () => javascript({ typescript: true }) },
  java: { name: "Java", indent: SPACES, support: java },
  go: { name: "Go", indent: "\t", support: go },
  rust: { name: "Rust", indent: SPACES, support: rust },
  c: { name: "C", indent: SPACES, support: cpp },
  cpp: { name: "C++", indent: SPACES, support: cpp },
  csharp: { name: "C#", indent: SPACES, support: () => StreamLanguage.define(csharp) },
  php: { name: "PHP", indent: SPACES, support: () => php({ plain: true }) },
  ruby: { name: "Ruby", indent: "  ", support: () => StreamLanguage.define(ruby) },
};
