// How the table of runs is shown, remembered by the browser.

/** @import { TableState } from "./types.js" */

const NAME = "tdw-runs-table";

/** @returns {TableState} */
export const usualState = () => ({ search: "", sort: "changed", descending: true, group: "", shown: [], hidden: [] });

/** @param {unknown} value */
const texts = (value) => (Array.isArray(value) ? value.filter((one) => typeof one === "string") : []);

/** What was remembered; what is not as it should be is as usual. @param {string | null} stored @returns {TableState} */
export const readState = (stored) => {
  const usual = usualState();
  try {
    const { search, sort, descending, group, shown, hidden } = JSON.parse(stored ?? "{}");
    return {
      search: typeof search === "string" ? search : usual.search,
      sort: typeof sort === "string" ? sort : usual.sort,
      descending: typeof descending === "boolean" ? descending : usual.descending,
      group: typeof group === "string" ? group : usual.group,
      shown: texts(shown),
      hidden: texts(hidden),
    };
  } catch {
    return usual;
  }
};

export const loadState = () => readState(localStorage.getItem(NAME));

/** @param {TableState} state */
export const saveState = (state) => localStorage.setItem(NAME, JSON.stringify(state));

/** Show or hide a column against the usual choice. @param {TableState} state @param {string} name @param {boolean} isOn @param {boolean} isUsual */
export const toggleColumn = (state, name, isOn, isUsual) => {
  const without = (/** @type {string[]} */ list) => list.filter((one) => one !== name);
  return {
    ...state,
    shown: isOn && !isUsual ? [...without(state.shown), name] : without(state.shown),
    hidden: !isOn && isUsual ? [...without(state.hidden), name] : without(state.hidden),
  };
};
