// Types of the window's scripts.

import type { Job } from "../viewer/types.js";
import type { Line } from "./news.js";

export type { Job } from "../viewer/types.js";

/** A file in the list of recent files. */
export interface Recent {
  key: string;
  path: string;
  name: string;
  about: string;
  there: boolean;
}

/** An opened run, as the lists show it. */
export interface KnownRun {
  type: "run";
  key: string;
  state: "new" | "unfinished" | "finished" | "lost";
  about: string;
  error: string;
  checkpoints: number;
  analyzed: { done: number; total: number };
}

export type Message =
  | { type: "jobs"; jobs: Job[] }
  | { type: "recent"; entries: Recent[]; current: string | null }
  | { type: "library"; number: number; complete: boolean }
  | KnownRun
  | { type: "server"; id: string }
  | { type: "line"; line: Line };

/** The answer to a command. */
export interface Answer {
  key?: string;
  path?: string;
  /** Paths of the files that a command was about. */
  paths?: string[];
  /** The job that was started. */
  job?: Job;
  /** A sentence that is shown when a run is first opened. */
  word?: string;
  error?: string;
  /** "line": the refusal ends when the connection is back. */
  of?: string;
}

declare global {
  interface Window {
    /** The elements that Gradio hands over, as they are mounted. */
    tdwParts?: { lists?: HTMLElement; viewer?: HTMLElement; state?: HTMLElement; home?: HTMLElement };
    tdwShell?: object;
  }
}
