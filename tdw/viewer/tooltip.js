// One tooltip for the whole page: lines of plain text next to the pointer.

import { el } from "./dom.js";
import { visibleText } from "./format.js";

/** @import { TooltipLine } from "./types.js" */

export class Tooltip {
  /** @param {Element} root */
  constructor(root) {
    this.node = el("div", "tdw-tooltip", null, { role: "tooltip" });
    this.node.hidden = true;
    root.append(this.node);
  }
  /** @param {number} clientX @param {number} clientY @param {TooltipLine[]} lines */
  show(clientX, clientY, lines) {
    this.node.replaceChildren(
      ...lines.map((line) => {
        const row = el("div");
        if (Array.isArray(line)) row.append(el("b", null, line[0]), ` ${visibleText(line[1])}`);
        else row.textContent = visibleText(line);
        return row;
      }),
    );
    this.node.hidden = false;
    const { width, height } = this.node.getBoundingClientRect();
    const x = clientX + 14 + width > innerWidth - 4 ? clientX - 14 - width : clientX + 14;
    const y = clientY + 16 + height > innerHeight - 4 ? clientY - 12 - height : clientY + 16;
    this.node.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
  }
  hide() {
    this.node.hidden = true;
  }
}
