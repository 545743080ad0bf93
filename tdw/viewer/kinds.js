// The kinds of panel that the page can draw, by the name a panel is declared with.

import { BarsPanel } from "./bars.js";
import { CurvePanel } from "./curve.js";
import { GridPanel } from "./grid.js";
import { ImagePanel } from "./image.js";
import { MapsPanel } from "./maps.js";
import { PathPanel } from "./path.js";
import { SpansPanel } from "./spans.js";
import { TablePanel } from "./table.js";

/** @import { Kept, PanelDescription, PanelView, Run, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

/** @type {Record<PanelDescription["kind"], new (card: Card, view: ViewerHandle, kept: Kept, spec: any, run: Run) => PanelView>} */
export const KINDS = {
  bars: BarsPanel,
  curve: CurvePanel,
  grid: GridPanel,
  image: ImagePanel,
  maps: MapsPanel,
  path: PathPanel,
  spans: SpansPanel,
  table: TablePanel,
};
