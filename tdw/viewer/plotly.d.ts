// What of Plotly the page uses.

export type PlotlyData = Record<string, unknown>;
export type Layout = Record<string, unknown>;

/** Changes of an axis range, by keys such as "xaxis.range[0]". */
export type Relayout = Record<string, any>;

export interface PlotlyNode extends HTMLDivElement {
  on(name: "plotly_relayout", listener: (change: Relayout) => void): void;
}
