// Descriptions of panels, generated from tdw/panels/spec.py: change it there and run `python -m tests.viewer.declarations`.

export interface Choice {
  title: string;
  options: string[];
  names: string[];
  chosen: number;
  short: string[];
  prefix: string;
  plural: string;
}

export interface Line {
  array: string;
  label: string;
  color: string;
  axes: (number | string)[];
  whole: boolean;
  picks: Record<string, number>;
}

export interface Band {
  label: string;
  array: string;
  rows: number[];
  value: number | null;
}

export interface Quantity {
  title: string;
  axis: string;
  lines: Line[];
  unit: string | null;
  scale: "linear" | "log";
  range: [number | null, number | null] | null;
  bands: Band[];
}

export interface CurveSpec {
  kind: "curve";
  quantities: Quantity[];
  choices: Record<string, Choice>;
  compare: string[];
  right: number;
  empty: string;
}

export interface Threshold {
  value: number | null;
  of_largest: number | null;
}

export interface Reference {
  array: string;
  at: number;
  label: string;
}

export interface BarsView {
  title: string;
  quantity: string;
  value_label: string;
  y_title: string;
  array: string;
  axis: "frequency" | "component";
  x_title: string;
  scale: "linear" | "log";
  threshold: Threshold | null;
  reference: Reference | null;
  missing: string;
}

export interface BarsSpec {
  kind: "bars";
  views: BarsView[];
  empty: string;
}

export interface ColorScale {
  type: "linear" | "log" | "flags" | "epochs";
  top: number | null;
  signed: boolean;
}

export interface Companion {
  array: string;
  label: string;
}

export interface GridView {
  title: string;
  array: string;
  axes: (number | string)[];
  y: "frequency" | "component" | "operand" | "head" | string[];
  x: "frequency" | "component" | "operand" | "head" | string[] | "checkpoint";
  y_title: string;
  x_title: string;
  value_label: string;
  value_title: string;
  value_names: string[];
  scale: ColorScale;
  heading: string;
  quantity: string;
  reading: "" | "largest" | "marked" | "agreement" | "correct" | "learned";
  downward: boolean;
  square: boolean;
  pairs: boolean;
  packed: boolean;
  show_values: boolean;
  companion: Companion | null;
  choices: string[] | null;
}

export interface GridSpec {
  kind: "grid";
  views: GridView[];
  choices: Record<string, Choice>;
  left: number;
  right: number;
  empty: string;
}

export interface ArrayOf {
  analysis: string;
  array: string;
}

export interface ImageSpec {
  kind: "image";
  array: string;
  quantity: string;
  cluster: ArrayOf;
  dead: ArrayOf;
  threshold: number;
  y_title: string;
  x_title: string;
}

export interface NeuronSummary {
  frequency: string;
  share: string;
  variance: string;
  maximum: string;
  dead: string;
}

export interface MapsSpec {
  kind: "maps";
  summary: NeuronSummary;
}

export interface FrequencySpans {
  first: string;
  last: string;
  transient: string;
}

export interface SpansSpec {
  kind: "spans";
  frequencies: FrequencySpans | null;
  left: number;
  right: number;
}

export interface PathSpec {
  kind: "path";
  choices: Record<string, Choice>;
  planes: ([number, number])[];
  position: string;
  explained: string;
}

export interface TableRow {
  label: string;
  about: string;
  row: number;
}

export interface TableBaseline {
  label: string;
  about: string;
  analysis: string;
  band: string;
  p: string;
}

export interface TableSpec {
  kind: "table";
  value: string;
  baselines: TableBaseline[];
  rows: TableRow[];
  level: number;
}

export interface State {
  status: "ready" | "partial" | "missing" | "stale" | "outdated" | "inapplicable";
  reason: string;
}

export interface PanelHeader {
  name: string;
  view: string;
  title: string;
  kind: "curve" | "bars" | "grid" | "image" | "maps" | "spans" | "path" | "table";
  state: State;
  analysis: string | null;
  required: boolean;
  weights: boolean;
  per: string | null;
  arrays: string[];
}

export type CurveDescription = PanelHeader & CurveSpec;
export type BarsDescription = PanelHeader & BarsSpec;
export type GridDescription = PanelHeader & GridSpec;
export type ImageDescription = PanelHeader & ImageSpec;
export type MapsDescription = PanelHeader & MapsSpec;
export type SpansDescription = PanelHeader & SpansSpec;
export type PathDescription = PanelHeader & PathSpec;
export type TableDescription = PanelHeader & TableSpec;

export type PanelDescription = CurveDescription | BarsDescription | GridDescription | ImageDescription | MapsDescription | SpansDescription | PathDescription | TableDescription;
