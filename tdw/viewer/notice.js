// What is to be read once, and stays until it was: what became of the file that is shown.
(function (T) {
  "use strict";
  T.Notice = class {
    constructor() {
      this.node = T.el("div", "tdw-notice", null, { role: "status" });
      this.say("");
    }
    /** Say something; "" for nothing. */
    say(text) {
      this.node.hidden = !text;
      const close = T.el("button", null, "×", { type: "button", "aria-label": "Dismiss", title: "Dismiss" });
      close.addEventListener("click", () => this.say(""));
      this.node.replaceChildren(...(text ? [T.el("span", null, text), close] : []));
    }
  };
})((window.TdwViewer = window.TdwViewer || {}));
