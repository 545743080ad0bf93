// Types of the table of runs.

import type { Job } from "../../viewer/types.js";

export type { Job } from "../../viewer/types.js";

/** A run as `tdw.runs` describes it, see tdw/statistics/rows.py. */
export type Row = Record<string, any>;

/** Heights of both losses, see tdw/statistics/sparkline.py; -1 where there is none. */
export interface Losses {
  train?: number[];
  test?: number[];
}

/** A run of the library. */
export interface Line {
  key: string;
  path: string;
  name: string;
  /** The added folder that it lies in. */
  folder: string | null;
  /** The file is not there anymore. */
  gone: boolean;
  /** Why the file cannot be read. */
  problem: string | null;
  /** When the file was changed, in seconds. */
  changed: number | null;
  losses: Losses;
  row: Row | null;
  /** The job on it. */
  job: Job | null;
}

export interface Folder {
  path: string;
  there: boolean;
}

/** What GET /library answers. */
export interface Changes {
  server: string;
  number: number;
  complete: boolean;
  columns: string[];
  settings: string[];
  lines: (Omit<Line, "row" | "job"> & { values: any[] | null })[];
  removed: string[];
  moved: Record<string, string>;
  folders: Folder[];
}

/** A column of the table. */
export interface Column {
  name: string;
  title: string;
  /** Shown as a hint over the title. */
  about: string;
  /** Pixels. */
  width: number;
  isNumber?: boolean;
  /** What rows are sorted by; null comes last. */
  value(line: Line): number | string | null;
  text(line: Line): string;
}

/** How the table is shown; remembered by the browser. */
export interface TableState {
  search: string;
  sort: string;
  descending: boolean;
  group: string;
  /** Names of columns that are shown or hidden against the usual choice. */
  shown: string[];
  hidden: string[];
}

/** A group of runs, or all of them: its heading and lines. */
export interface Group {
  label: string;
  lines: Line[];
}
