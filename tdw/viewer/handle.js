// `window.tdw`: the page for scripts and tests.

/** @import { Viewer } from "./viewer.js" */

/** @param {Viewer} viewer */
export const publish = (viewer) => {
  const handle = {
    get ready() {
      return viewer.ready;
    },
    get count() {
      return viewer.count;
    },
    get index() {
      return viewer.index;
    },
    get painted() {
      return viewer.painted;
    },
    get cost() {
      return viewer.cost;
    },
    get pins() {
      return [...viewer.pins];
    },
    get tab() {
      return viewer.view;
    },
    get revision() {
      return viewer.run?.loaded?.revision ?? null;
    },
    /** Show another view; resolves when it is painted. */
    choose: (/** @type {string} */ view) => viewer.choose(view),
    show: (/** @type {number} */ index) => viewer.show(index),
    pin: (/** @type {number[]} */ ...neurons) => viewer.setPins(neurons),
    /** What a panel draws: probe("neuron_activations", neuron, a, b), see the `probe` of each kind. */
    probe: (/** @type {string} */ name, /** @type {unknown[]} */ ...where) => viewer.grid.panel(name).probe?.(...where),
    panel: (/** @type {string} */ name) => viewer.grid.panel(name),
    viewer,
  };
  Object.assign(window, { tdw: handle });
};
