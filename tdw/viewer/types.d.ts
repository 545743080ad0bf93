// Types that the page's scripts share. Those of panel descriptions are generated, see panels.d.ts.

import type { CurvePoints } from "./curve_points.js";
import type { PanelDescription } from "./panels.js";
import type { Layout, PlotlyData } from "./plotly.js";

export * from "./panels.js";

/** An interval between two recorded epochs; -1 is before the first. */
export type Interval = [number, number];

export interface RunEvent {
  name: string;
  label: string;
  first: Interval | null;
  last: Interval | null;
  held: boolean;
  recorded: boolean;
}

export interface Job {
  key: string;
  name: string;
  path: string;
  kind: "train" | "analyze";
  state: "starting" | "running" | "stopping" | "finished" | "failed";
  done: number;
  total: number;
  epochs_per_second: number | null;
  seconds_left: number | null;
  train_loss: number | null;
  test_loss: number | null;
  error: string;
}

export interface Parameters {
  p: number;
  heads: number;
  d_mlp: number;
  frequencies: number;
  order: number;
  network: "transformer" | "two-token" | "one-hot";
  activation: "relu" | "gelu" | "quadratic";
  attention_rate: number;
}

export interface ArrayEntry {
  dtype: string;
  shape: number[];
  version: string;
}

/** What the server tells of a run before arrays are fetched. */
export interface Manifest {
  id: string;
  file: string;
  folder: string;
  title: string;
  tags: string[];
  remark: string;
  state: "new" | "unfinished" | "finished";
  /** Where the run was forked from another one, and in sentences from which one, and what is different. */
  branched?: { at: number; is_edited: boolean; sentences: string[] } | null;
  /** Where training ended because a loss was not finite. */
  diverged?: { epoch: number; side: string } | null;
  revision: number;
  planned_epochs: number;
  epochs: number;
  checkpoints: number[];
  parameters: Parameters;
  events: RunEvent[];
  grokking: {
    verdict: "yes" | "no" | "unknown";
    delay: Interval | null;
    wanted: number;
    ratio: [number, number] | null;
    wanted_ratio: number;
  };
  key_frequencies: { rule: string; frequencies: number[]; epoch: number; is_stale: boolean } | null;
  arrays: Record<string, ArrayEntry>;
  /** Names the content of each array; absent in pages that carry their own data. */
  contents?: Record<string, string>;
  panels: PanelDescription[];
  job: Job | null;
}

export type Numbers =
  | Float64Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>;

/** The rows of an array that the page holds: all, or of a long one some; `stride` numbers each. */
export interface RunArray {
  data: Numbers;
  shape: number[];
  stride: number;
  /** How many there are in the run. */
  rows: number;
  version: string;
  isWhole: boolean;
  /** Over all rows, (measure, stride): see `Source.extremes`. Null where it is not needed. */
  extremes: Float64Array<ArrayBuffer> | null;
  /** Where the numbers of a row begin in `data`; -1 while it is not there. */
  offset(row: number): number;
  /** The rows that are held, in order. */
  held(): number[];
}

/** Rows from…to (excluded), every `step`-th. */
export interface Rows {
  from?: number;
  to?: number;
  step?: number;
}

/** Where data comes from: the server, or a page that carries its own. */
export interface DataSource {
  manifest(): Promise<Manifest>;
  array(name: string, version: string, rows: Rows, signal?: AbortSignal): Promise<ArrayBuffer>;
  neurons(ids: number[], rows: Rows, signal?: AbortSignal): Promise<ArrayBuffer>;
  scores(rows: Rows, signal?: AbortSignal): Promise<ArrayBuffer>;
  extremes(name: string, version: string): Promise<ArrayBuffer>;
  points(name: string, version: string, every: number, epochs: Rows, signal?: AbortSignal): Promise<ArrayBuffer>;
  atCheckpoints(name: string, version: string, from: number): Promise<ArrayBuffer>;
  close(): void;
}

/** A run as panels see it. */
export interface Run {
  manifest: Manifest;
  source: DataSource;
  checkpoints: number[];
  array(name: string): RunArray | null;
  /** A long recorded curve as points; null where it is an array. */
  curve(name: string): CurvePoints | null;
  /** Row of an analysis at a checkpoint's index, or -1. */
  row(analysis: string | null, index: number): number;
}

/** Colors of a theme. `named` holds every token by name; `lut` and `minus` are 256 packed RGBA pixels each. */
export interface Palette {
  lut: Uint32Array;
  minus: Uint32Array;
  font: string;
  named: Record<string, string>;
  surface: string;
  line: string;
  lineStrong: string;
  ink: string;
  muted: string;
  accent: string;
  train: string;
  test: string;
  mark: string;
  bar: string;
  good: string;
}

export interface Ticks {
  values: number[];
  text: string[];
}

export interface Range {
  x: number[];
  y: number[];
}

/** What a panel's frame is to draw around its canvas. */
export interface Axes {
  x: Ticks;
  y: Ticks;
  yType?: "linear" | "log";
  gridX?: boolean;
  gridY?: boolean;
  shapes?: object[];
}

/** Lines of a tooltip: text, or [bold, rest]. */
export type TooltipLine = string | [string, string];

/** What a card shows instead of its body. */
export interface CardState {
  title?: string;
  text?: string;
  progress?: number;
  button?: string;
  act?: () => void;
  /** The menu stays usable: another choice may have something to draw, or this one soon has. */
  keepsMenu?: boolean;
}

export type MenuItem =
  | { label: string; run: () => void }
  | {
      group: string;
      value: MenuValue;
      options: { label: string; value: MenuValue }[];
      choose: (value: any) => void;
    };
export type MenuValue = string | number | boolean | null;

/** What was chosen in a card's menu; kept while other views and runs are shown. */
export type Kept = Record<string, any>;

/** What panels may ask of the page. */
export interface ViewerHandle {
  readonly colors: Palette;
  readonly index: number;
  readonly count: number;
  readonly pins: number[];
  readonly tooltip: { show(x: number, y: number, lines: TooltipLine[]): void; hide(): void };
  readonly isAsking: boolean;
  show(index: number, isPlaying?: boolean): void;
  row(analysis: string | null, index: number): number;
  repaint(): void;
  setPins(neurons: number[]): void;
  togglePin(neuron: number): void;
  /** Refresh, at most twice a second. */
  soon(): void;
  failed(error: Error): void;
}

/** The drawing of one panel. `draw` runs at every step of the slider and never waits: of long runs it gets the nearest
 * checkpoint that is there. */
export interface PanelView {
  update(spec: any, run: Run): void;
  draw(index: number): void;
  resize(): void;
  theme(colors: Palette): void;
  close(): void;
  /** What it draws of the manifest besides arrays. */
  depends?(manifest: Manifest): string;
  /** Why there is nothing to draw although its analysis is there. */
  absence?(index: number): CardState | null;
  /** Why the data of a checkpoint did not come. */
  refusedAt?(index: number): string | null;
  refusal?: string | null;
  fetch?(): Promise<void>;
  loading?: Promise<void>;
  /** The arrays of which it draws the row of one checkpoint. */
  arraysAt?(): string[];
  /** Whether what it fetches itself of a checkpoint is there. */
  isHeld?(index: number): boolean;
  /** The slider is at a checkpoint: fetch what is missing of it and its neighbors. */
  follow?(index: number): void;
  /** The pinned neurons have changed. */
  pinned?(): void;
  /** What is drawn, for tests. */
  probe?(...where: any[]): unknown;
}

declare global {
  const Plotly: {
    react(node: HTMLElement, data: PlotlyData[], layout: Layout, config: object): void;
    purge(node: HTMLElement): void;
  };
}
