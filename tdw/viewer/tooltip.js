// One tooltip for the whole page: lines of plain text beside the pointer, never in its way.
(function (T) {
  "use strict";
  T.Tooltip = class {
    constructor(root) {
      this.node = T.el("div", "tdw-tooltip", null, { role: "tooltip" });
      this.node.hidden = true;
      root.append(this.node);
    }
    /** Show lines (strings, or [strong, rest]) beside a point of the window. */
    show(clientX, clientY, lines) {
      this.node.replaceChildren(
        ...lines.map((line) => {
          const row = T.el("div");
          if (Array.isArray(line)) row.append(T.el("b", null, line[0]), ` ${T.visible(line[1])}`);
          else row.textContent = T.visible(line);
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
  };
})((window.TdwViewer = window.TdwViewer || {}));
